"""Checks of what a client asks for, which say what is wrong by the field's name."""

import json
from collections.abc import Collection
from typing import Any, Literal

from gateway.protocols.realtime.errors import ProtocolError

Json = dict[str, Any]

LONGEST_TEXT = 32_768
"""Characters of instructions."""

MOST_OUTPUT_TOKENS = 4096


def wrong(param: str, sentence: str, *, code: str = "invalid_value") -> ProtocolError:
    """The error that `param` is wrong; `sentence` goes on after its name."""
    return ProtocolError(f"{param} {sentence}", code=code, param=param)


def unsupported(param: str) -> ProtocolError:
    """The error that what `param` asks for cannot be done here."""
    return wrong(param, "is not supported by this server")


def within(value: float, bounds: tuple[float, float], param: str) -> float:
    """`value`; ProtocolError if it is out of bounds."""
    least, most = bounds
    if not least <= value <= most:
        raise wrong(param, f"must be from {least} to {most}")
    return value


def short(text: str, most: int, param: str) -> str:
    """`text`; ProtocolError if it has more than `most` characters."""
    if len(text) > most:
        raise wrong(param, f"must have at most {most} characters, not {len(text)}")
    return text


def small(value: Any, most: int, param: str) -> Any:
    """`value`; ProtocolError if it takes more than `most` characters of JSON."""
    length = len(json.dumps(value))
    if length > most:
        raise wrong(param, f"must take at most {most} characters of JSON, not {length}")
    return value


def refuse(given: Json, fields: Collection[str], name: str) -> None:
    """ProtocolError if one of the fields, none of which can be honoured, asks for something."""
    for field in fields:
        if given.get(field) not in (None, "", []):
            raise unsupported(f"{name}.{field}")


def modality(given: list[str], name: str) -> Literal["audio", "text"]:
    """The one output modality; ProtocolError if there are two, or none."""
    if given == ["audio"]:
        return "audio"
    if given == ["text"]:
        return "text"
    raise wrong(f"{name}.output_modalities", 'must be ["audio"] or ["text"]')


def most_tokens(given: int | Literal["inf"] | None, name: str) -> int | Literal["inf"]:
    """The longest answer in tokens; ProtocolError if it is out of range."""
    if given is None or given == "inf":
        return "inf"
    if not 1 <= given <= MOST_OUTPUT_TOKENS:
        param = f"{name}.max_output_tokens"
        raise wrong(param, f'must be from 1 to {MOST_OUTPUT_TOKENS}, or "inf"')
    return given
