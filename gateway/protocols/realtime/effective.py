"""A session's configuration as the protocol shows it, and what it means for Parley."""

import copy
from typing import Any

from gateway.protocols.realtime.formats import FORMATS, described
from gateway.protocols.realtime.incoming import ProtocolError
from shared.messages import SessionConfig, TurnDetection
from shared.settings import Settings

Json = dict[str, Any]

_SERVER_VAD: Json = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
    "interrupt_response": True,
    "idle_timeout_ms": None,
}
_RANGES = {
    "threshold": (0.0, 1.0),
    "prefix_padding_ms": (0, 5_000),
    "silence_duration_ms": (0, 10_000),
}

# What cannot be honoured is refused by name unless it asks for nothing.
_REFUSED: dict[tuple[str, ...], tuple[Any, ...]] = {
    ("tools",): ([],),
    ("tool_choice",): ("auto", "none"),
    ("tracing",): (),
    ("prompt",): (),
    ("reasoning",): (),
    ("parallel_tool_calls",): (True,),
    ("truncation",): ("auto",),
    ("include",): ([],),
    ("audio", "input", "noise_reduction"): (),
}


def initial(settings: Settings, model: str) -> Json:
    """The configuration of a session that asked for nothing."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": settings.instructions,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": described("audio/pcm"),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {**_SERVER_VAD, "silence_duration_ms": settings.silence_ms},
            },
            "output": {"format": described("audio/pcm"), "voice": settings.tts_voice, "speed": 1.0},
        },
    }


def updated(effective: Json, update: Json) -> Json:
    """`effective` with the fields that are present in `update`; neither is changed.

    Raises:
        ProtocolError: a field that cannot be honoured; nothing of the update is applied.
    """
    if update.get("type") != "realtime":
        raise ProtocolError("session.type must be realtime", param="session.type")
    for path, harmless in _REFUSED.items():
        value = _at(update, path)
        if value is not None and value not in harmless:
            name = ".".join(("session", *path))
            raise ProtocolError(f"{name} is not supported by this server", param=name)
    result = copy.deepcopy(effective)
    for name in ("output_modalities", "instructions", "max_output_tokens", "model"):
        if name in update:
            result[name] = update[name]
    sides = update.get("audio") or {}
    _update_input(result["audio"]["input"], sides.get("input") or {})
    _update_output(result["audio"]["output"], sides.get("output") or {})
    _check(result)
    return result


def _at(update: Json, path: tuple[str, ...]) -> Any:
    value: Any = update
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _update_input(effective: Json, update: Json) -> None:
    if "format" in update:
        effective["format"] = _format(update["format"], "session.audio.input.format")
    if "transcription" in update:
        effective["transcription"] = update["transcription"]
    if "turn_detection" in update:
        effective["turn_detection"] = _turn_detection(update["turn_detection"])


def _update_output(effective: Json, update: Json) -> None:
    if "format" in update:
        effective["format"] = _format(update["format"], "session.audio.output.format")
    for name in ("voice", "speed"):
        if update.get(name) is not None:
            effective[name] = update[name]


def _format(update: Json | None, param: str) -> Json:
    name = (update or {}).get("type") or "audio/pcm"
    if name not in FORMATS:
        raise ProtocolError(f"{param}.type must be one of {', '.join(FORMATS)}", param=param)
    rate = (update or {}).get("rate")
    if rate not in (None, FORMATS[name].rate):
        raise ProtocolError(
            f"{param}.rate must be {FORMATS[name].rate} for {name}", param=f"{param}.rate"
        )
    return described(name)


def _turn_detection(update: Json | None) -> Json | None:
    if update is None:
        return None
    param = "session.audio.input.turn_detection"
    if update.get("type", "server_vad") != "server_vad":
        raise ProtocolError(f"{param}.type must be server_vad", param=f"{param}.type")
    if update.get("idle_timeout_ms") is not None:
        name = f"{param}.idle_timeout_ms"
        raise ProtocolError(f"{name} is not supported by this server", param=name)
    given = {name: update[name] for name in _SERVER_VAD if update.get(name) is not None}
    for name, (least, most) in _RANGES.items():
        if name in given and not least <= given[name] <= most:
            raise ProtocolError(
                f"{param}.{name} must be from {least} to {most}", param=f"{param}.{name}"
            )
    return {**_SERVER_VAD, **given}


def _check(effective: Json) -> None:
    if effective["output_modalities"] not in (["audio"], ["text"]):
        raise ProtocolError(
            'session.output_modalities must be ["audio"] or ["text"]',
            param="session.output_modalities",
        )
    tokens = effective["max_output_tokens"]
    if tokens != "inf" and tokens is not None and not 1 <= tokens <= 4096:
        raise ProtocolError(
            'session.max_output_tokens must be from 1 to 4096, or "inf"',
            param="session.max_output_tokens",
        )
    speed = effective["audio"]["output"]["speed"]
    if not 0.25 <= speed <= 1.5:
        name = "session.audio.output.speed"
        raise ProtocolError(f"{name} must be from 0.25 to 1.5", param=name)


def config_of(effective: Json) -> SessionConfig:
    """What the configuration means to the other processes."""
    audio = effective["audio"]
    transcription = audio["input"]["transcription"] or {}
    detection = audio["input"]["turn_detection"]
    tokens = effective["max_output_tokens"]
    voice = audio["output"]["voice"]
    return SessionConfig(
        instructions=effective["instructions"] or None,
        language=transcription.get("language"),
        transcription_prompt=transcription.get("prompt"),
        turn_detection=None
        if detection is None
        else TurnDetection(
            threshold=detection["threshold"],
            prefix_ms=detection["prefix_padding_ms"],
            silence_ms=detection["silence_duration_ms"],
            create_response=detection["create_response"],
            interrupt_response=detection["interrupt_response"],
        ),
        modality=effective["output_modalities"][0],
        voice=voice if isinstance(voice, str) else voice.get("id"),
        speed=audio["output"]["speed"],
        output_rate=FORMATS[audio["output"]["format"]["type"]].rate,
        max_output_tokens=tokens if isinstance(tokens, int) else None,
    )
