"""A session's configuration as the protocol shows it, and what it means for Parley."""

import copy
import json
from typing import Any, Literal

from gateway.protocols.realtime import listening
from gateway.protocols.realtime.catalog import Catalog, Offers
from gateway.protocols.realtime.checks import (
    LONGEST_TEXT,
    Json,
    modality,
    most_tokens,
    refuse,
    short,
    small,
    within,
    wrong,
)
from gateway.protocols.realtime.formats import FORMATS, AudioFormat, described
from gateway.protocols.realtime.listening import Listening
from gateway.protocols.realtime.tools import checked_choice, checked_tools, tooling
from shared.messages import SessionConfig, Tooling, Truncation
from shared.settings import Settings

Kind = Literal["realtime", "transcription"]

_SPEEDS = (0.25, 1.5)
_LONGEST_TRACING = 4_096
_MOST_TOKENS_KEPT = 1_000_000
_REFUSED = ("prompt", "reasoning", "include")

# What a session that only transcribes has, by the path of the field.
_TRANSCRIPTION_FIELDS = {
    "session": {"type", "include", "audio"},
    "session.audio": {"input"},
}


class Configuration:
    """What is in effect in one session: `shown` as the protocol writes it.

    An update makes a new configuration, or is refused and makes none.
    """

    def __init__(
        self,
        settings: Settings,
        model: str = "",
        offers: Offers | None = None,
        *,
        kind: Kind = "realtime",
    ) -> None:
        """The configuration of a session that asked for nothing but a model.

        Raises:
            ProtocolError: there is no such model here.
        """
        self._settings = settings
        self._catalog = Catalog(settings, offers)
        self._listening = Listening(settings, self._catalog, answers=kind == "realtime")
        self.shown: Json = {"type": kind, "audio": {"input": self._listening.fresh()}}
        if kind == "transcription":
            self.shown |= {"object": "realtime.transcription_session", "include": None}
            return
        self.shown |= {
            "object": "realtime.session",
            "model": self._catalog.model(model or self._catalog.llm_model, "model"),
            "output_modalities": ["audio"],
            "instructions": settings.instructions,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "include": None,
        }
        self.shown["audio"]["output"] = {
            "format": described("audio/pcm"),
            "voice": self._catalog.default_voice,
            "speed": 1.0,
        }

    @classmethod
    def transcription(cls, settings: Settings, offers: Offers | None = None) -> "Configuration":
        """The configuration of a session that only transcribes, and asked for nothing."""
        return cls(settings, offers=offers, kind="transcription")

    @classmethod
    def restored(
        cls, settings: Settings, meaning: SessionConfig, offers: Offers | None = None
    ) -> "Configuration":
        """The configuration that has this meaning: what an earlier gateway left."""
        shown = json.loads(meaning.protocol)
        result = cls(settings, offers=offers, kind=shown["type"])
        result.shown = shown
        return result

    def updated(self, update: Json, *, voice_locked: bool = False) -> "Configuration":
        """This configuration with the fields that are present in `update`, a session of the
        protocol's types without what was not set.

        "", [] and null clear what can be without, and leave everything else as it is.
        `voice_locked` says that the voice was heard, and stays.

        Raises:
            ProtocolError: a field that cannot be honoured.
        """
        kind = self.shown["type"]
        if update.get("type") not in (None, kind):
            raise wrong("session.type", f"must be {kind!r}: a session stays what it is")
        refuse(update, _REFUSED, "session")
        result = copy.deepcopy(self)
        audio = update.get("audio") or {}
        heard = result._listening.updated(result.shown["audio"]["input"], audio.get("input") or {})
        result.shown["audio"]["input"] = heard
        if kind == "transcription":
            _refuse_answering(update)
            return result
        result._update_answers(update)
        result._update_tools(update)
        result._update_speech(audio.get("output") or {}, voice_locked=voice_locked)
        return result

    def _update_answers(self, update: Json) -> None:
        shown = self.shown
        if update.get("model"):
            shown["model"] = self._catalog.model(update["model"], "session.model")
        if update.get("output_modalities") is not None:
            shown["output_modalities"] = [modality(update["output_modalities"], "session")]
        if "instructions" in update:
            instructions = update["instructions"] or ""
            shown["instructions"] = short(instructions, LONGEST_TEXT, "session.instructions")
        if "max_output_tokens" in update:
            shown["max_output_tokens"] = most_tokens(update["max_output_tokens"], "session")
        if "tracing" in update:
            tracing = update["tracing"] or None
            shown["tracing"] = small(tracing, _LONGEST_TRACING, "session.tracing")
        if "truncation" in update:
            shown["truncation"] = _truncation(update["truncation"])

    def _update_tools(self, update: Json) -> None:
        shown = self.shown
        if "tools" in update:
            shown["tools"] = checked_tools(update["tools"] or [], "session.tools")
        choice = update.get("tool_choice", shown["tool_choice"]) or "auto"
        shown["tool_choice"] = checked_choice(choice, shown["tools"], "session.tool_choice")
        if update.get("parallel_tool_calls") is not None:
            shown["parallel_tool_calls"] = update["parallel_tool_calls"]

    def _update_speech(self, update: Json, *, voice_locked: bool) -> None:
        shown = self.shown["audio"]["output"]
        if update.get("format") is not None:
            shown["format"] = described(update["format"].get("type") or "audio/pcm")
        if (speed := update.get("speed")) is not None:
            shown["speed"] = within(speed, _SPEEDS, "session.audio.output.speed")
        shown["voice"] = self.voice(update, "session", voice_locked=voice_locked)

    def voice(self, output: Json, name: str, *, voice_locked: bool) -> str:
        """The voice that `output`, the `audio.output` of what the client calls `name`, asks for.

        Raises:
            ProtocolError: there is no such voice here, or another was heard.
        """
        now: str = self.shown["audio"]["output"]["voice"]
        wanted = output.get("voice")
        if not wanted:
            return now
        # a voice of the client's own is shown by its id, which is what all clients can read
        param = f"{name}.audio.output.voice"
        voice = self._catalog.voice(wanted if isinstance(wanted, str) else wanted["id"], param)
        if voice_locked and voice != now:
            raise wrong(param, f"must stay {now!r}: it was heard", code="cannot_update_voice")
        return voice

    def spoken_with(self, voice: str) -> str | None:
        """The voice of this server that a voice, as shown, stands for; None is the usual one."""
        return self._catalog.spoken_with(voice)

    @property
    def answers(self) -> bool:
        """Whether this is a session that talks, not one that only transcribes."""
        return self.shown["type"] == "realtime"

    @property
    def input_format(self) -> AudioFormat:
        return FORMATS[self.shown["audio"]["input"]["format"]["type"]]

    @property
    def output_format(self) -> AudioFormat:
        return FORMATS[self.shown["audio"]["output"]["format"]["type"]]

    @property
    def noise_reduction(self) -> Json | None:
        """The kind of microphone and how much of its noise goes, None for none of it."""
        reduction: Json | None = self.shown["audio"]["input"]["noise_reduction"]
        return reduction

    @property
    def transcribes(self) -> bool:
        """Whether the client wants to see what it said in words."""
        return self.shown["audio"]["input"]["transcription"] is not None

    @property
    def tracing(self) -> str | Json | None:
        """What the client calls the traces of this session, None if it asks for none."""
        tracing: str | Json | None = self.shown.get("tracing")
        return tracing

    @property
    def tooling(self) -> Tooling:
        """What the functions mean to the language model."""
        parallel = self.shown.get("parallel_tool_calls", True)
        return tooling(self.shown["tools"], self.shown["tool_choice"], parallel=parallel)

    @property
    def meaning(self) -> SessionConfig:
        """What it means to the other processes."""
        audio = self.shown["audio"]["input"]
        transcription = audio["transcription"] or {}
        heard: dict[str, Any] = {
            "language": transcription.get("language") or self._settings.language,
            "transcription_prompt": listening.transcription_prompt(audio["transcription"]),
            "turn_detection": listening.turn_detection(audio["turn_detection"]),
            "protocol": json.dumps(self.shown),
        }
        if not self.answers:
            return SessionConfig(responds=False, **heard)
        output = self.shown["audio"]["output"]
        tokens = self.shown["max_output_tokens"]
        return SessionConfig(
            **heard,
            instructions=self.shown["instructions"],
            modality=self.shown["output_modalities"][0],
            voice=self.spoken_with(output["voice"]),
            speed=output["speed"],
            output_rate=self.output_format.rate,
            max_output_tokens=None if tokens == "inf" else tokens,
            tooling=self.tooling,
            truncation=_meant(self.shown["truncation"]),
        )


def _refuse_answering(update: Json) -> None:
    """ProtocolError if an update of a session that only transcribes asks it to answer."""
    for name, fields in _TRANSCRIPTION_FIELDS.items():
        given = update if name == "session" else update.get("audio") or {}
        for field in given.keys() - fields:
            raise wrong(f"{name}.{field}", "is not for sessions that only transcribe")


def _truncation(given: str | Json | None) -> str | Json:
    """How a conversation that is too long is cut, as it is shown."""
    if not given:
        return "auto"
    if isinstance(given, str):
        return given
    name = "session.truncation"
    shown: Json = {
        "type": "retention_ratio",
        "retention_ratio": within(given["retention_ratio"], (0.0, 1.0), f"{name}.retention_ratio"),
    }
    limit = (given.get("token_limits") or {}).get("post_instructions")
    if limit is not None:
        within(limit, (1, _MOST_TOKENS_KEPT), f"{name}.token_limits.post_instructions")
        shown["token_limits"] = {"post_instructions": limit}
    return shown


def _meant(truncation: str | Json) -> Truncation:
    if isinstance(truncation, dict):
        limits = truncation.get("token_limits", {})
        return Truncation(
            retain=truncation["retention_ratio"], tokens=limits.get("post_instructions")
        )
    return Truncation(retain=None) if truncation == "disabled" else Truncation()
