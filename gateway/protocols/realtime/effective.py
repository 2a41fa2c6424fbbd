"""A session's configuration as the protocol shows it, and what it means for Parley."""

import copy
import json
from collections.abc import Collection, Mapping
from typing import Any, Literal

from gateway.protocols.realtime.formats import FORMATS, AudioFormat, described
from gateway.protocols.realtime.incoming import ProtocolError
from shared.messages import SessionConfig, TurnDetection
from shared.settings import Settings

Json = dict[str, Any]
Refused = Mapping[tuple[str, ...], Collection[Any]]
"""Path of a field that cannot be honoured → its values that ask for nothing."""

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
_SPEEDS = (0.25, 1.5)
_MOST_OUTPUT_TOKENS = 4096

_REFUSED: Refused = {
    ("tools",): ([],),
    ("tool_choice",): ("auto", "none"),
    ("tracing",): (),
    ("prompt",): (),
    ("reasoning",): (),
    ("parallel_tool_calls",): (True,),
    ("truncation",): ("auto",),
    ("include",): ([],),
    ("audio", "input", "noise_reduction"): (),
    ("audio", "input", "transcription", "delay"): (),
    ("audio", "input", "transcription", "keywords"): ([],),
    ("audio", "input", "transcription", "languages"): ([],),
    ("audio", "input", "turn_detection", "idle_timeout_ms"): (),
}


class Configuration:
    """What is in effect in one session: `shown` as the protocol writes it."""

    def __init__(self, settings: Settings, model: str) -> None:
        """The configuration of a session that asked for nothing."""
        self._turn_detection = {**_SERVER_VAD, "silence_duration_ms": settings.silence_ms}
        self.shown: Json = {
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
                    "turn_detection": self._turn_detection,
                },
                "output": {
                    "format": described("audio/pcm"),
                    "voice": settings.tts_voice,
                    "speed": 1.0,
                },
            },
        }

    @classmethod
    def restored(cls, settings: Settings, meaning: SessionConfig) -> "Configuration":
        """The configuration that has this meaning: what an earlier gateway left."""
        result = cls(settings, "")
        result.shown = json.loads(meaning.protocol)
        return result

    def updated(self, update: Json) -> "Configuration":
        """This configuration with the fields that are present in `update`.

        null switches off what can be off, and leaves everything else as it is.

        Raises:
            ProtocolError: a field that cannot be honoured.
        """
        refuse(update, _REFUSED, "session")
        result = copy.deepcopy(self)
        shown = result.shown
        if update.get("output_modalities") is not None:
            shown["output_modalities"] = [modality(update["output_modalities"], "session")]
        if "max_output_tokens" in update:
            shown["max_output_tokens"] = (
                most_tokens(update["max_output_tokens"], "session") or "inf"
            )
        if "instructions" in update:
            shown["instructions"] = update["instructions"] or ""
        if update.get("model") is not None:
            shown["model"] = update["model"]
        sides = update.get("audio") or {}
        result._update_input(sides.get("input") or {})
        result._update_output(sides.get("output") or {})
        return result

    def _update_input(self, update: Json) -> None:
        effective = self.shown["audio"]["input"]
        if update.get("format") is not None:
            effective["format"] = _format(update["format"])
        if "transcription" in update:
            now, given = effective["transcription"] or {}, update["transcription"]
            effective["transcription"] = None if given is None else {**now, **given}
        if "turn_detection" in update:
            now, given = effective["turn_detection"], update["turn_detection"]
            effective["turn_detection"] = (
                None if given is None else _turn_detection(now or self._turn_detection, given)
            )

    def _update_output(self, update: Json) -> None:
        effective = self.shown["audio"]["output"]
        if update.get("format") is not None:
            effective["format"] = _format(update["format"])
        if (voice := update.get("voice")) is not None:
            # a voice of the client's own is shown by its id, which is what all clients can read
            effective["voice"] = voice if isinstance(voice, str) else voice["id"]
        if (speed := update.get("speed")) is not None:
            effective["speed"] = _within(speed, _SPEEDS, "session.audio.output.speed")

    @property
    def input_format(self) -> AudioFormat:
        return FORMATS[self.shown["audio"]["input"]["format"]["type"]]

    @property
    def output_format(self) -> AudioFormat:
        return FORMATS[self.shown["audio"]["output"]["format"]["type"]]

    @property
    def transcribes(self) -> bool:
        """Whether the client wants to see what it said in words."""
        return self.shown["audio"]["input"]["transcription"] is not None

    @property
    def meaning(self) -> SessionConfig:
        """What it means to the other processes."""
        audio = self.shown["audio"]
        transcription = audio["input"]["transcription"] or {}
        detection = audio["input"]["turn_detection"]
        tokens = self.shown["max_output_tokens"]
        return SessionConfig(
            instructions=self.shown["instructions"],
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
            modality=self.shown["output_modalities"][0],
            voice=audio["output"]["voice"],
            speed=audio["output"]["speed"],
            output_rate=self.output_format.rate,
            max_output_tokens=None if tokens == "inf" else tokens,
            protocol=json.dumps(self.shown),
        )


def refuse(given: Json, refused: Refused, name: str) -> None:
    """Refuses, by name, what asks for something that cannot be honoured.

    Raises:
        ProtocolError: `given`, which the client calls `name`, does.
    """
    for path, harmless in refused.items():
        value: Any = given
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and value not in harmless:
            param = ".".join((name, *path))
            raise ProtocolError(f"{param} is not supported by this server", param=param)


def modality(given: list[str], name: str) -> Literal["audio", "text"]:
    """The one output modality; ProtocolError if there are two, or none."""
    if given == ["audio"]:
        return "audio"
    if given == ["text"]:
        return "text"
    param = f"{name}.output_modalities"
    raise ProtocolError(f'{param} must be ["audio"] or ["text"]', param=param)


def most_tokens(given: int | str | None, name: str) -> int | None:
    """The longest answer in tokens, None for "inf"; ProtocolError if it is out of range."""
    if not isinstance(given, int):
        return None
    if not 1 <= given <= _MOST_OUTPUT_TOKENS:
        param = f"{name}.max_output_tokens"
        raise ProtocolError(
            f'{param} must be from 1 to {_MOST_OUTPUT_TOKENS}, or "inf"', param=param
        )
    return given


def _format(given: Json) -> Json:
    return described(given.get("type") or "audio/pcm")


def _turn_detection(effective: Json, given: Json) -> Json:
    name = "session.audio.input.turn_detection"
    if given["type"] != "server_vad":
        raise ProtocolError(f"{name}.type must be 'server_vad'", param=f"{name}.type")
    present = {field: value for field, value in given.items() if value is not None}
    for field in _RANGES.keys() & present.keys():
        _within(present[field], _RANGES[field], f"{name}.{field}")
    return {**effective, **present}


def _within(value: float, bounds: tuple[float, float], param: str) -> float:
    least, most = bounds
    if not least <= value <= most:
        raise ProtocolError(f"{param} must be from {least} to {most}", param=param)
    return value
