"""What a TTS engine is, and which there are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from shared.audio import Int16
from shared.heartbeat import Offers
from shared.registry import create_engine
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Speech:
    """A piece of text to be spoken, `speed` times as fast as usual, at `sample_rate` in Hz."""

    text: str
    voice: str | None
    speed: float
    sample_rate: int


class TtsEngine(Protocol):
    """Speaks. Several threads may synthesise at once."""

    name: str
    model: str
    voices: list[str]
    """Voices one may ask for; none named is any. Another name gets the first."""

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


def _instant(settings: Settings) -> TtsEngine:
    from workers.tts.engines.instant import InstantEngine

    return InstantEngine()


def _paced(settings: Settings) -> TtsEngine:
    from workers.tts.engines.paced import PacedEngine

    return PacedEngine(settings)


ENGINES: dict[str, Callable[[Settings], TtsEngine]] = {
    "piper": _piper,
    "instant": _instant,
    "paced": _paced,
}


def offers(engine: TtsEngine) -> Offers:
    """What a worker with this engine tells the gateways."""
    return Offers(voices=tuple(engine.voices))


def create(settings: Settings) -> TtsEngine:
    """The engine that `PARLEY_TTS_ENGINE` or the profile names; ValueError if there is none."""
    return create_engine("tts", ENGINES, settings)
