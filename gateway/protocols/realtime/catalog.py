"""What this server has, and the names under which clients ask for it.

Clients come with the names of OpenAI's models and voices: each stands for what is here. A name
that is neither OpenAI's nor this server's is refused.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from gateway.protocols.realtime.checks import wrong
from shared.settings import Settings

_MODELS = re.compile(r"parley|gpt-(4o(-mini)?-)?(realtime|audio)([-.][a-z0-9.-]{1,48})?")
_TRANSCRIBERS = re.compile(
    r"whisper-1|gpt-(4o-|4o-mini-|live-)?transcribe(-\d{4}-\d\d-\d\d)?|gpt-realtime-whisper"
)
_VOICES = frozenset(
    ["alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse"]
)
_ANY_VOICE = "default"
_LANGUAGE = re.compile(r"([a-z]{2,3})([-_][a-z0-9]{1,8}){0,3}")
_LONGEST_NAME = 128


class Offers(Protocol):
    """What the workers can do. An empty list says that nobody knows: anything goes."""

    @property
    def languages(self) -> Sequence[str]:
        """Languages that are understood, as ISO 639 codes."""

    @property
    def voices(self) -> Sequence[str]:
        """Voices that are spoken with."""


class Catalog:
    """The names that this server knows."""

    def __init__(self, settings: Settings, offers: Offers | None = None) -> None:
        """`offers` is None where nobody knows what the workers can do."""
        self._settings = settings
        self._languages = frozenset(offers.languages) if offers else frozenset()
        self._voices = tuple(offers.voices) if offers else ()

    @property
    def default_voice(self) -> str:
        """What the voice of a session that names none is called."""
        return self._usual_voice or _ANY_VOICE

    @property
    def _usual_voice(self) -> str | None:
        preferred = self._settings.tts_voice
        if self._voices and preferred not in self._voices:
            return self._voices[0]
        return preferred

    @property
    def llm_model(self) -> str:
        """What the language model is called."""
        return self._settings.model("llm") or self._settings.engine("llm")

    @property
    def stt_model(self) -> str:
        """What the transcription model is called."""
        return self._settings.model("stt") or self._settings.engine("stt")

    def model(self, name: str, param: str) -> str:
        """`name`; ProtocolError if it stands for no model here."""
        return _model(name, self.llm_model, _MODELS, "gpt-realtime", param)

    def transcriber(self, name: str, param: str) -> str:
        """`name`; ProtocolError if it stands for no transcription model here."""
        return _model(name, self.stt_model, _TRANSCRIBERS, "whisper-1", param)

    def voice(self, name: str, param: str) -> str:
        """`name`; ProtocolError if it stands for no voice here."""
        known = (*self._voices, self.default_voice, *_VOICES)
        if (self._voices and name not in known) or not 0 < len(name) <= _LONGEST_NAME:
            here = ", ".join(self._voices or (self.default_voice,))
            raise wrong(
                param,
                f"must be one of {here}, or a name of OpenAI's such as 'marin', which stands for"
                f" {self.default_voice}",
            )
        return name

    def spoken_with(self, name: str) -> str | None:
        """The voice of this server that a voice's name stands for; None is the worker's usual."""
        usual = name == _ANY_VOICE or name in _VOICES
        return self._usual_voice if usual and name not in self._voices else name

    def language(self, name: str, param: str) -> str:
        """The language's code, "en" for "en-US"; ProtocolError if it is not understood here."""
        found = _LANGUAGE.fullmatch(name.lower())
        if found is None:
            raise wrong(param, "must be an ISO 639 code such as 'en'")
        code = found[1]
        if self._languages and code not in self._languages:
            here = ", ".join(sorted(self._languages))
            raise wrong(param, f"must be one of {here}: this server understands no other language")
        return code


def _model(name: str, own: str, known: re.Pattern[str], example: str, param: str) -> str:
    if name != own and not known.fullmatch(name):
        raise wrong(
            param,
            f"must be {own!r}, or a name of OpenAI's such as {example!r}, which stands for the"
            " same",
            code="model_not_found",
        )
    return name
