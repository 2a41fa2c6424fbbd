"""Silero VAD on onnxruntime: one step of the model for every session at once."""

import numpy as np
import onnxruntime

from shared.audio import Float32
from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.vad.engines import WINDOW
from workers.vad.engines.silero_graph import quick_graph
from workers.vad.engines.silero_state import STATE

_FILE = "silero_vad_op18_ifless.onnx"


class SileroEngine:
    """A session's state is its recurrent state, 256 numbers, and its last 64 samples."""

    name = "silero"
    STATE = STATE

    def __init__(self, settings: Settings) -> None:
        self.model = settings.model("vad")
        self._models_dir = settings.models_dir
        self._session: onnxruntime.InferenceSession | None = None

    def load(self) -> None:
        options = onnxruntime.SessionOptions()
        # A step is 0.1 ms for one session and 0.5 ms for 32: threads cost more than they bring.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # the model carries unused weights, a warning each
        path = resolve(self.model, self._models_dir)
        file = path if path.is_file() else path / _FILE
        self._session = onnxruntime.InferenceSession(
            quick_graph(file), options, providers=["CPUExecutionProvider"]
        )
        self.step(np.zeros((1, WINDOW), np.float32), self.initial_state()[None])

    def close(self) -> None:
        self._session = None

    def initial_state(self) -> Float32:
        return np.zeros(self.STATE, np.float32)

    def step(self, audio: Float32, state: Float32) -> tuple[Float32, Float32]:
        session = loaded(self._session, self.name)
        if len(audio) == 0:
            return np.zeros(0, np.float32), state
        probability, after = session.run(None, {"audio": audio, "state": state})
        return probability, after
