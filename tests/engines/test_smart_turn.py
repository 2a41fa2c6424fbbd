"""How well Smart Turn tells that a turn is over, and the engine without a model."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from shared.audio import SAMPLE_RATE, Float32, Int16, to_float32
from shared.models import resolve
from shared.settings import Settings
from tests.engines.conftest import at_16_khz
from workers.vad.engines import TURN_SAMPLES
from workers.vad.engines.length import LengthEngine
from workers.vad.engines.log_mel import log_mel
from workers.vad.engines.smart_turn import SmartTurnEngine

Reader = Callable[[str], Int16]

PAUSE = np.zeros(SAMPLE_RATE // 5, np.int16)


@pytest.fixture(scope="module")
def smart_turn(settings: Settings) -> Iterator[SmartTurnEngine]:
    loaded = SmartTurnEngine(settings)
    loaded.load()
    yield loaded
    loaded.close()


def spoken(audio: Int16) -> Int16:
    """From the first sound of a clean recording to its last."""
    loud = np.flatnonzero(np.abs(audio.astype(np.int32)) > 300)
    return audio[loud[0] : loud[-1] + 1]


def test_little_sound_is_no_turn_to_the_engine_without_a_model() -> None:
    tone = (8000 * np.sin(np.arange(SAMPLE_RATE) * 0.1)).astype(np.int16)
    turns = [np.concatenate([tone[: int(s * SAMPLE_RATE)], PAUSE]) for s in (0.1, 0.3, 0.6, 1.0)]
    assert LengthEngine().over(turns) == pytest.approx([1 / 6, 1 / 2, 1, 1], abs=0.02)
    assert LengthEngine().over([PAUSE])[0] == 0


def test_the_spectrogram_is_whispers(readers: Reader) -> None:
    extractor = FeatureExtractor(chunk_length=8)
    noise = np.random.default_rng(1).normal(0, 0.1, TURN_SAMPLES).astype(np.float32)
    padded = np.concatenate([np.zeros(50_000, np.float32), noise[:78_000]])
    for audio in (to_float32(readers("two_cities")[:TURN_SAMPLES]), noise, padded, 0 * noise):
        expected: Float32 = extractor(audio, padding=0)
        assert log_mel(audio).shape == (80, 800)
        np.testing.assert_allclose(log_mel(audio), expected, atol=2e-5)


def test_sentences_that_were_read_to_their_end_are_over(
    smart_turn: SmartTurnEngine, settings: Settings
) -> None:
    """Nine languages, synthetic by the sound of them; measured: 23 of 27."""
    folder = resolve("speech-samples", settings.models_dir)
    recordings = [at_16_khz(path) for path in sorted(folder.glob("*/*.wav"))]
    turns = [np.concatenate([spoken(recording), PAUSE])[-TURN_SAMPLES:] for recording in recordings]
    over = [float(smart_turn.over([turn])[0]) for turn in turns]
    assert len(over) == 27
    assert sum(probability >= 0.5 for probability in over) >= 22


@pytest.mark.parametrize(
    ("name", "until"), [("en/quick_brown_fox", 0.6), ("es/pangrama", 0.4), ("hi/ginti", 0.8)]
)
def test_a_sentence_that_breaks_off_is_not_over(
    smart_turn: SmartTurnEngine, settings: Settings, name: str, until: float
) -> None:
    folder = resolve("speech-samples", settings.models_dir)
    recording = spoken(at_16_khz(folder / f"{name}.wav"))
    begun = np.concatenate([recording[: int(until * len(recording))], PAUSE])
    assert smart_turn.over([begun])[0] < 0.5


def test_its_weights_are_loaded_with_the_first_question(settings: Settings) -> None:
    engine = SmartTurnEngine(settings)
    engine.load()
    assert engine._session is None
    engine.over([PAUSE])
    assert engine._session is not None
    engine.close()
