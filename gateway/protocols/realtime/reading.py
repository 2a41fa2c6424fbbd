"""JSON as clients may send it: of so many values, each of which every reader can hold. No I/O.

What a value costs grows with every check of it: without a bound, a message of a few megabytes of
`[[],[],…` would keep the gateway busy, and its other clients waiting, for a minute.
"""

import math
from typing import Any

import pydantic_core

from gateway.protocols.realtime.errors import ProtocolError, field

MOST_VALUES = 10_000
"""Of an event, however they are nested."""

# Before anything is read: no value without one of these. Long texts have some, too.
_MARKS = ",[{"
_MOST_MARKS = 2**17
# Integers of more than 64 bits are none to other readers.
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def read(text: str) -> Any:
    """What `text` says.

    Raises:
        ProtocolError: not JSON, or too much of it.
    """
    if sum(map(text.count, _MARKS)) > _MOST_MARKS:
        raise _too_many()
    try:
        return pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ProtocolError(f"the event is not valid JSON: {error}", code="invalid_json") from error


def check(event: dict[str, Any]) -> None:
    """Holds an event to the bounds.

    Raises:
        ProtocolError: too many values, or a number that not every reader can hold.
    """
    found: list[tuple[tuple[int | str, ...], Any]] = [((), event)]
    values = 0
    for path, holder in found:  # which grows meanwhile
        values += len(holder)
        if values > MOST_VALUES:
            raise _too_many()
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(value, dict | list):
                found.append(((*path, key), value))
            elif not _holds(value):
                param = field((*path, key))
                raise ProtocolError(f"{param} must be a number of at most 64 bits", param=param)


def _holds(value: Any) -> bool:
    if isinstance(value, int):
        return _SMALLEST <= value <= _LARGEST
    return not isinstance(value, float) or math.isfinite(value)


def _too_many() -> ProtocolError:
    return ProtocolError(f"an event must have at most {MOST_VALUES} values", code="event_too_large")
