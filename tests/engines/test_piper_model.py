"""Piper's model in two parts says what it says in one."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from piper import PiperVoice

from shared.models import resolve
from shared.settings import Settings
from tests.support import piper_voices
from workers.tts.engines.piper_model import PiperModel, pieces

SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog does not mind it at all."


@pytest.fixture(scope="module")
def joe() -> Path:
    [file] = resolve("en_US-joe-medium", Settings().models_dir).glob("*.onnx")
    return file


def inputs(file: Path) -> dict[str, np.ndarray]:
    """The sentence as the model takes it, with nothing left to chance."""
    voice = PiperVoice.load(file)
    [sentence] = voice.phonemize(SENTENCE)
    numbers = voice.phonemes_to_ids(sentence)
    return {
        "input": np.array([numbers], np.int64),
        "input_lengths": np.array([len(numbers)], np.int64),
        "scales": np.array([0, 1, 0], np.float32),
    }


def test_the_pieces_together_are_what_the_whole_model_says(joe: Path) -> None:
    asked = inputs(joe)
    whole = onnxruntime.InferenceSession(str(joe)).run(None, asked)[0].reshape(-1)
    spoken = list(PiperModel.load(joe, threads=1).speak(asked))
    assert len(spoken) >= 3
    together = np.concatenate(spoken)
    assert together.shape == whole.shape
    # Half a step of 16 bits, also at the seams.
    assert np.abs(together - whole).max() < 0.5 / 32_768


def test_a_model_that_is_not_made_as_pipers_runs_whole(tmp_path: Path) -> None:
    folder = piper_voices.spelling(tmp_path, "other", {"a": 1_000})
    [file] = folder.glob("*.onnx")
    assert PiperModel.load(file, threads=1).vocoder is None


@pytest.mark.parametrize("count", [1, 49, 50, 99, 100, 101, 250, 500, 5_000])
def test_pieces_follow_each_other_and_none_is_short(count: int) -> None:
    cut = list(pieces(count))
    assert (cut[0][0], cut[-1][1]) == (0, count)
    assert all(before[1] == after[0] for before, after in pairwise(cut))
    lengths = [end - start for start, end in cut]
    assert lengths == sorted(lengths)
    assert len(cut) == 1 or lengths[0] == 50
