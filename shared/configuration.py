"""Prints the tables of docs/configuration.md: `python -m shared.configuration`."""

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from shared.settings import Settings

# Each begins with this setting and ends before the next one's.
_SECTIONS = {
    "redis_url": "Where things are",
    "api_keys": "Who gets in",
    "connections": "What clients may take",
    "profile": "The system",
    "language": "Language",
    "vad_engine": "Voice activity detection",
    "stt_engine": "Speech to text",
    "turn_engine": "Turns",
    "llm_engine": "Language model",
    "tts_engine": "Text to speech",
    "remote_timeout_s": "Engines on another server",
    "paced_stt_ms": "The paced engines",
}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most"}


def tables() -> str:
    """Every setting there is, section by section."""
    return "\n".join(_lines()).strip()


def _lines() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name in _SECTIONS:
            yield from ("", f"**{_SECTIONS[name]}**", "")
            yield from ("| variable | default | |", "| --- | --- | --- |")
        described = " ".join(filter(None, (field.description, _allowed(field))))
        yield f"| `PARLEY_{name.upper()}` | {_default(field)} | {described} |"


def _allowed(field: FieldInfo) -> str:
    """What a value may be, as far as its type and bounds say so."""
    literals = [value for value in _choices(field.annotation) if value is not None]
    if literals:
        return f"One of {', '.join(f'`{value}`' for value in literals)}."
    if bool in (field.annotation, *get_args(field.annotation)):
        return "`true` or `false`."
    bounds = [
        f"{words} {limit}"
        for bound in field.metadata
        for name, words in _BOUNDS.items()
        if (limit := getattr(bound, name, None)) is not None
    ]
    return f"{' and '.join(bounds).capitalize()}." if bounds else ""


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    for argument in get_args(annotation):
        yield from _choices(argument)


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None or value in (None, ()):
        return ""
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return text if " " in text else f"`{text}`"


if __name__ == "__main__":
    print(tables())
