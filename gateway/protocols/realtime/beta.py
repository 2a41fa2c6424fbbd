"""The protocol as it was before its general availability, for clients that still ask for it.

They send the header `OpenAI-Beta: realtime=v1`, or offer the subprotocol of that name. Their events
are translated into those of today, and those of today into theirs. No I/O.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.protocols.realtime.checks import refuse, unsupported, wrong

Json = dict[str, Any]
Path = tuple[str, ...]

_HEADER = ("openai-beta", "realtime=v1")
_SUBPROTOCOL = "openai-beta.realtime-v1"

_SHARED: dict[str, Path] = {
    "modalities": ("output_modalities",),
    "output_audio_format": ("audio", "output", "format"),
    "voice": ("audio", "output", "voice"),
    "tools": ("tools",),
    "tool_choice": ("tool_choice",),
    "instructions": ("instructions",),
}
_LISTENING: dict[str, Path] = {
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
}
# Where today's session has what the beta's calls so.
_SESSION: dict[str, Path] = {
    **_SHARED,
    **_LISTENING,
    "model": ("model",),
    "max_response_output_tokens": ("max_output_tokens",),
    "speed": ("audio", "output", "speed"),
    "tracing": ("tracing",),
}
# The same of a response that is asked for. A response that is shown has `max_output_tokens`.
_RESPONSE: dict[str, Path] = {**_SHARED, "max_response_output_tokens": ("max_output_tokens",)}
_SHOWN_RESPONSE = ("modalities", "output_audio_format", "voice")

_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_PARTS = {"text": "output_text", "audio": "output_audio"}
_FORMER_FORMATS = {today: former for former, today in _FORMATS.items()}
_FORMER_PARTS = {today: former for former, today in _PARTS.items()}
# What the beta's temperature is where nobody asks for another.
_USUAL_TEMPERATURE = 0.8

_EVENTS = (
    ("response.output_audio.", "response.audio."),
    ("response.output_audio_transcript.", "response.audio_transcript."),
    ("response.output_text.", "response.text."),
    ("conversation.item.added", "conversation.item.created"),
)
_UNKNOWN_EVENTS = ("conversation.item.done", "input_audio_buffer.timeout_triggered")
_DETECTION = {
    "type",
    "threshold",
    "prefix_padding_ms",
    "silence_duration_ms",
    "eagerness",
    "create_response",
    "interrupt_response",
}
_TRANSCRIPTION = {"model", "language", "prompt"}


def wanted(headers: Mapping[str, str], subprotocols: Iterable[str]) -> bool:
    """Whether a client asks for the beta; header names are in lower case."""
    name, value = _HEADER
    versions = [version.strip() for version in headers.get(name, "").split(",")]
    return value in versions or _SUBPROTOCOL in subprotocols


# --- what the client sends ---


def to_ga(event: Json) -> Json:
    """A client's event of the beta as today's.

    What it does not know it leaves as it is, for today's protocol to refuse.

    Raises:
        ProtocolError: a field of the beta that cannot be honoured.
    """
    match event:
        case {"type": "session.update", "session": dict(session)}:
            given = _translated(session, _SESSION, "session")
            return {**event, "session": {"type": "realtime", **given}}
        case {"type": "transcription_session.update", "session": dict(session)}:
            if session.get("modalities") not in (None, ["text"]):
                raise wrong("session.modalities", 'must be ["text"]')
            rest = {field: value for field, value in session.items() if field != "modalities"}
            given = _translated(rest, _LISTENING, "session")
            return {
                **event,
                "type": "session.update",
                "session": {"type": "transcription", **given},
            }
        case {"type": "response.create", "response": dict(response)}:
            return {**event, "response": _translated(response, _RESPONSE, "response")}
        case {"type": "conversation.item.create", "item": dict(item)}:
            return {**event, "item": _item(item, _PARTS)}
        case _:
            return event


def _translated(given: Json, fields: Mapping[str, Path], name: str) -> Json:
    """`given`, which the client calls `name`, with its fields where today's protocol has them."""
    refuse(given, ("client_secret",), name)
    if "audio" in given:
        raise wrong(f"{name}.audio", "is not a field of the beta", code="unknown_parameter")
    if given.get("temperature") not in (None, _USUAL_TEMPERATURE):
        raise unsupported(f"{name}.temperature")
    result: Json = {}
    for field, value in given.items():
        if field not in ("client_secret", "temperature"):
            _put(result, fields.get(field, (field,)), _value(field, value, f"{name}.{field}"))
    return result


def _value(field: str, value: Any, name: str) -> Any:
    match field, value:
        case "input_audio_format" | "output_audio_format", str():
            if value not in _FORMATS:
                raise wrong(name, f"must be one of {', '.join(_FORMATS)}")
            return {"type": _FORMATS[value]}
        case "modalities", ["text", "audio"] | ["audio", "text"]:
            return ["audio"]
        case "turn_detection", dict():
            return {"type": "server_vad", **value}
        case "input", list():
            return [_item(item, _PARTS) if isinstance(item, dict) else item for item in value]
        case _:
            return value


def _put(target: Json, path: Path, value: Any) -> None:
    *folders, field = path
    for folder in folders:
        target = target.setdefault(folder, {})
    target[field] = value


# --- what it is shown ---


def from_ga(event: Json) -> list[Json]:
    """The events of the beta that tell what one of today's does, none if it has no word for it."""
    kind: str = event["type"]
    if kind in _UNKNOWN_EVENTS:
        return []
    for today, former in _EVENTS:
        if kind.startswith(today):
            kind = former + kind.removeprefix(today)
    shown = {**event, "type": kind}
    if "item" in shown:
        shown["item"] = _item(shown["item"], _FORMER_PARTS)
    if "response" in shown:
        shown["response"] = _response(shown["response"])
    if kind == "response.function_call_arguments.done":
        shown.pop("name", None)
    if kind == "error":
        shown["error"] = _error(shown["error"])
    if "session" in shown:
        return _greeted(shown)
    return [shown]


def _greeted(shown: Json) -> list[Json]:
    """A session's event; the beta's conversation is created with it."""
    session, kind = shown["session"], shown["type"]
    if session["type"] == "transcription":
        kind = kind.replace("session.", "transcription_session.", 1)
        return [{**shown, "type": kind, "session": _session(session, _LISTENING)}]
    events = [{**shown, "session": _session(session, _SESSION)}]
    if kind == "session.created":
        conversation = session["id"].replace("sess", "conv", 1)
        about = {"id": conversation, "object": "realtime.conversation"}
        events.append({**shown, "type": "conversation.created", "conversation": about})
        del events[-1]["session"]
    return events


def _session(session: Json, fields: Mapping[str, Path]) -> Json:
    shown: Json = {
        field: session[field] for field in ("id", "object", "parley") if field in session
    }
    shown |= {field: _shown(field, session, path) for field, path in fields.items()}
    for field, known in (
        ("turn_detection", _DETECTION),
        ("input_audio_transcription", _TRANSCRIPTION),
        ("input_audio_noise_reduction", {"type"}),
    ):
        if shown[field] is not None:
            shown[field] = {name: shown[field][name] for name in known & shown[field].keys()}
    return shown


def _response(response: Json) -> Json:
    shown = {field: _shown(field, response, _RESPONSE[field]) for field in _SHOWN_RESPONSE}
    kept = {
        field: value
        for field, value in response.items()
        if field not in ("audio", "output_modalities")
    }
    return {**kept, **shown, "output": [_item(item, _FORMER_PARTS) for item in response["output"]]}


def _shown(field: str, today: Json, path: Path) -> Any:
    value: Any = today
    for part in path:
        value = value[part]
    if field.endswith("_audio_format"):
        return _FORMER_FORMATS[value["type"]]
    if field == "modalities" and value == ["audio"]:
        return ["audio", "text"]
    return value


def _error(error: Json) -> Json:
    """An error that calls the fields what the client calls them."""
    shown = dict(error)
    for field in ("param", "message"):
        if shown.get(field):
            shown[field] = _NAMES.sub(lambda found: _CALLED[found[0]], shown[field])
    return shown


def _called() -> dict[str, str]:
    """Today's name of a field → the beta's."""
    return {
        ".".join((name, *path)): f"{name}.{field}"
        for name, fields in (("session", _SESSION), ("response", _RESPONSE))
        for field, path in fields.items()
    }


_CALLED = _called()
_NAMES = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in _CALLED))


def _item(item: Json, names: Mapping[str, str]) -> Json:
    """An item whose parts have the other protocol's names."""
    content = item.get("content")
    if not isinstance(content, list):
        return item
    return {**item, "content": [_part(part, names) for part in content]}


def _part(part: Any, names: Mapping[str, str]) -> Any:
    match part:
        case {"type": str(kind)} if kind in names:
            return {**part, "type": names[kind]}
        case _:
            return part
