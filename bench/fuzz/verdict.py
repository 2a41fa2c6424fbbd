"""What a frame must be answered, judged without the gateway's own code. No I/O."""

import json
from typing import Any

from pydantic import ValidationError

from bench.fuzz.grammar import EVENTS, Json

LONGEST_ERROR = 4_096
"""Characters of an `error` event: what comes back must not grow with what was sent."""

_LONGEST_REFERENCE = 512
# What has more than these, of which each value has one, is nothing to anybody.
_MOST_MARKS = 100_000
# What is nested too deep, or has too many digits or commas, is not read at all.
_UNREAD = ("invalid_json", "event_too_large")
# It comes when the audio before it was heard, and not in its request's place.
LATE = "input_audio_buffer_commit_empty"


class _Unreadable(ValueError):
    """What JSON does not know."""


def read(data: str | bytes) -> Any:
    """What a frame says, None if it says nothing."""
    if isinstance(data, bytes) or sum(map(data.count, ",[{")) > _MOST_MARKS:
        return None
    try:
        value = json.loads(data, parse_constant=_unreadable)
        data.encode()
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def must_be_refused(data: str | bytes) -> bool:
    """Whether the protocol has no such event; one that it has may be refused all the same."""
    event = read(data)
    if not isinstance(event, dict):
        return True
    kind = event.get("type")
    model = EVENTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        return True
    try:
        model.model_validate_json(json.dumps(event), strict=True, extra="forbid")
    except ValidationError:
        return not _lenient(event)
    return False


def problem(data: str | bytes, errors: list[Json]) -> str | None:
    """What is wrong with the `error` events that a frame was answered with, in words."""
    if len(errors) > 1:
        return f"{len(errors)} errors for one frame"
    if not errors:
        return "no error for what the protocol does not have" if must_be_refused(data) else None
    return _malformed(errors[0]) or _misleading(read(data), errors[0]["error"])


def _malformed(event: Json) -> str | None:
    error = event.get("error")
    fields = {"type", "code", "message", "param", "event_id"}
    if not isinstance(error, dict) or error.keys() != fields:
        return "an error without the protocol's fields"
    if not all(isinstance(error[name], str) and error[name] for name in ("type", "code")):
        return "an error without type or code"
    if not isinstance(error["message"], str) or len(error["message"].split()) < 2:
        return "an error without a sentence"
    if len(json.dumps(event)) > LONGEST_ERROR:
        return f"an error of {len(json.dumps(event))} characters"
    return None


def _misleading(event: Any, error: Json) -> str | None:
    """An error must name the field, and the event by the client's own name for it."""
    param = error["param"]
    if param is not None and param.split(".")[-1] not in error["message"]:
        return f"the message does not name {param[:80]!r}"
    if not isinstance(event, dict) or error["code"] in _UNREAD:
        return None
    mine = event.get("event_id")
    readable = isinstance(mine, str) and len(mine) <= _LONGEST_REFERENCE
    if error["event_id"] != (mine if readable else None):
        return f"the event_id is {error['event_id']!r} and not {str(mine)[:80]!r}"
    return None


def _lenient(event: Json) -> bool:
    """Whether this server may take what the official types do not allow: sessions of clients that
    know no other type, and references among a response's input."""
    session, response = event.get("session"), event.get("response")
    if isinstance(session, dict) and "type" not in session:
        return True
    given = response.get("input") if isinstance(response, dict) else None
    if not isinstance(given, list):
        return False
    return any(isinstance(item, dict) and item.get("type") == "item_reference" for item in given)


def _unreadable(name: str) -> None:
    raise _Unreadable(f"{name} is no JSON")
