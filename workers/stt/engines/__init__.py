"""What an STT engine is, and which there are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.audio import Int16
from shared.heartbeat import Offers
from shared.registry import create_engine
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Utterance:
    """What somebody said between two silences.

    `pcm` is int16 (n,), 16 kHz mono. `language` is an ISO 639-1 code, or None to find out.
    `prompt` is text that tells the model what words to expect.
    """

    pcm: Int16
    language: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was recognised; `text` is empty where nothing was said.

    `language` is what it was spoken in, None where that is not known. `full_window` says that the
    quick way failed and the utterance was recognised again the slow one.
    """

    text: str
    language: str | None
    audio_s: float
    full_window: bool = False


class SttEngine(Protocol):
    """Recognises utterances, of any sessions, in batches. Several threads may call it at once."""

    name: str
    model: str
    works_ahead: bool
    """Whether to have it transcribe what may never be asked for: not what has to be paid for."""

    @property
    def languages(self) -> Sequence[str]:
        """The languages it understands, as ISO 639 codes, once it is loaded; none named is any."""

    def load(self) -> None:
        """Loads the model and warms it up; blocks.

        Raises:
            ModelMissing: the model is not on this machine.
        """

    def close(self) -> None:
        """Frees the model."""

    def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        """Recognises a batch; blocks. One transcript for each utterance, in their order.

        Raises:
            ValueError: an utterance's language is none of `languages`.
        """


def _whisper(settings: Settings) -> SttEngine:
    from workers.stt.engines.whisper import WhisperEngine

    return WhisperEngine(settings)


def _openai(settings: Settings) -> SttEngine:
    from workers.stt.engines.remote import RemoteEngine

    return RemoteEngine(settings)


def _instant(settings: Settings) -> SttEngine:
    from workers.stt.engines.instant import InstantEngine

    return InstantEngine()


def _paced(settings: Settings) -> SttEngine:
    from workers.stt.engines.paced import PacedEngine

    return PacedEngine(settings)


ENGINES: dict[str, Callable[[Settings], SttEngine]] = {
    "whisper": _whisper,
    "openai": _openai,
    "instant": _instant,
    "paced": _paced,
}


def offers(engine: SttEngine) -> Offers:
    """What a worker with this engine tells the gateways."""
    return Offers(languages=tuple(engine.languages))


def create(settings: Settings) -> SttEngine:
    """The engine that `PARLEY_STT_ENGINE` or the profile names; EngineMissing if there is none."""
    return create_engine("stt", ENGINES, settings)
