"""How Piper sounds."""

from collections.abc import Iterator

import numpy as np
import pytest

from shared.audio import Int16
from shared.settings import Settings
from workers.tts.engines import Speech, TtsEngine, create

SENTENCE = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def piper() -> Iterator[TtsEngine]:
    started = create(Settings(tts_engine="piper"))
    started.load()
    yield started
    started.close()


def say(engine: TtsEngine, text: str, speed: float = 1.0) -> Int16:
    spoken = engine.synthesize(Speech(text, voice=None, speed=speed, sample_rate=24_000))
    return np.concatenate([np.zeros(0, np.int16), *spoken])


def test_piper_is_neither_faint_nor_clipped(piper: TtsEngine) -> None:
    for text in ("Sure!", SENTENCE):
        audio = say(piper, text).astype(np.float64) / 32_768
        assert 0.1 < np.abs(audio).max() < 1
        assert -35 < 10 * np.log10(np.mean(audio**2)) < -15


def test_piper_refuses_a_speed_that_is_none(piper: TtsEngine) -> None:
    with pytest.raises(ValueError, match="speed must be above 0, not 0"):
        say(piper, "Hello.", speed=0)
