"""Smart Turn v3 on onnxruntime: https://github.com/pipecat-ai/smart-turn.

Whisper tiny's encoder and a classifier, for 8 s of audio: the end of the turn, with zeros before
it where there is less. All 8 s are brought to zero mean and unit variance before the spectrogram.
What the model calls logits are probabilities.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from shared.audio import Float32, Int16, to_float32
from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.vad.engines import TURN_SAMPLES
from workers.vad.engines.log_mel import log_mel

_FILE = "smart-turn-v3.2-cpu.onnx"
_VARIANCE_FLOOR = 1e-7


class SmartTurnEngine:
    """Its weights are loaded with the first question: a worker whose sessions all end their turns
    by silence is 60 MB smaller, and the first session that asks waits 0.2 s more, once."""

    name = "smart-turn"
    batch = 1  # eight at once take no less time than one after another, and 120 MB more

    def __init__(self, settings: Settings) -> None:
        self.model = settings.model("turn")
        self._models_dir = settings.models_dir
        self._file: Path | None = None
        self._session: onnxruntime.InferenceSession | None = None
        self._loading = threading.Lock()

    def load(self) -> None:
        path = resolve(self.model, self._models_dir)
        self._file = path if path.is_file() else path / _FILE

    def close(self) -> None:
        self._file = self._session = None

    def over(self, turns: Sequence[Int16]) -> Float32:
        file = loaded(self._file, self.name)
        with self._loading:
            session = self._session = self._session or _opened(file)
        features = np.stack([_features(turn) for turn in turns])
        probability: Float32 = session.run(["logits"], {"input_features": features})[0][:, 0]
        return probability


def _opened(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread takes 50 ms; a second would take a core from the other stages for little.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _features(turn: Int16) -> Float32:
    """What the model hears of a turn: float32 (80, 800)."""
    audio = np.zeros(TURN_SAMPLES, np.float32)
    audio[TURN_SAMPLES - len(turn) :] = to_float32(turn)
    return log_mel((audio - audio.mean()) / np.sqrt(audio.var() + _VARIANCE_FLOOR))
