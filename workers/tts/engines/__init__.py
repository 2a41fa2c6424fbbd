"""What a TTS engine is, and which there are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.audio import Int16
from shared.heartbeat import Offers
from shared.registry import create_engine
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Speech:
    """A piece of text to be spoken, `speed` times as fast as usual, at `sample_rate` in Hz.

    `voice` is one of the engine's own, or None for its first; an engine that names none is given
    what was asked for. `language` is the text's, as an ISO 639-1 code, where it is known.
    """

    text: str
    voice: str | None
    speed: float
    sample_rate: int
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice, and the language it speaks as an ISO 639-1 code; None is any."""

    name: str
    language: str | None


class TtsEngine(Protocol):
    """Speaks. Several threads may synthesise at once."""

    name: str
    model: str
    works_ahead: bool
    """Whether it may speak what nobody has asked for yet: not if each request costs something."""

    @property
    def voices(self) -> Sequence[Voice]:
        """Its voices, once it is loaded, the usual one first; none is whatever is asked for."""

    def load(self) -> None:
        """Loads the model and warms it up; blocks.

        Raises:
            ModelMissing: the voice is not on this machine.
        """

    def close(self) -> None:
        """Frees the model."""

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        """Speaks a text; each step blocks. A generator that may be closed between steps.

        Yields:
            int16 (n,) at `speech.sample_rate`, at most 200 ms at a time; together one seamless
            recording. Nothing where there is nothing to pronounce.
        """


def _piper(settings: Settings) -> TtsEngine:
    from workers.tts.engines.piper import PiperEngine

    return PiperEngine(settings)


def _melo(settings: Settings) -> TtsEngine:
    from workers.tts.engines.melo import MeloEngine

    return MeloEngine(settings)


def _kokoro(settings: Settings) -> TtsEngine:
    from workers.tts.engines.kokoro import KokoroEngine

    return KokoroEngine(settings)


def _openai(settings: Settings) -> TtsEngine:
    from workers.tts.engines.remote import RemoteEngine

    return RemoteEngine(settings)


def _instant(settings: Settings) -> TtsEngine:
    from workers.tts.engines.instant import InstantEngine

    return InstantEngine()


def _paced(settings: Settings) -> TtsEngine:
    from workers.tts.engines.paced import PacedEngine

    return PacedEngine(settings)


ENGINES: dict[str, Callable[[Settings], TtsEngine]] = {
    "piper": _piper,
    "melo": _melo,
    "kokoro": _kokoro,
    "openai": _openai,
    "instant": _instant,
    "paced": _paced,
}


def offers(engine: TtsEngine) -> Offers:
    """What a worker with this engine tells the gateways."""
    return Offers(voices=tuple(voice.name for voice in engine.voices))


def create(settings: Settings) -> TtsEngine:
    """The engine that `PARLEY_TTS_ENGINE` or the profile names; EngineMissing if there is none."""
    return create_engine("tts", ENGINES, settings)
