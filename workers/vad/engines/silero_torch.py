"""Silero VAD on torch, on the GPU or the processor: one step for every session at once."""

import numpy as np
import torch

from shared.audio import Float32
from shared.gpu import check_fits, limit_torch
from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.vad.engines import WINDOW
from workers.vad.engines.silero_state import STATE, packed, unpacked

_FILE = "silero_vad.jit"
_WORK_BYTES = 100_000_000  # activations of hundreds of sessions, and cuDNN's workspaces


class SileroTorchEngine:
    """The same model and the same states as `silero`: a session goes on with either."""

    name = "silero-torch"
    STATE = STATE

    def __init__(self, settings: Settings) -> None:
        self.model = settings.model("vad")
        self._settings = settings
        self._device = torch.device("cuda" if settings.on_gpu else "cpu")
        self._network: torch.jit.ScriptModule | None = None

    def load(self) -> None:
        path = resolve(self.model, self._settings.models_dir)
        file = path if path.is_file() else path / _FILE
        if self._settings.on_gpu:
            needed = file.stat().st_size + _WORK_BYTES
            check_fits("vad", f"the model {self.model!r}", needed, self._settings)
            limit_torch("vad", self._settings)
        torch.set_num_threads(1)  # a step is too short to be shared out
        # The file holds a wrapper that remembers its last batch, with one network for each sample
        # rate inside. The network for 16 kHz is taken out: it remembers nothing.
        self._network = torch.jit.load(str(file), map_location=self._device)._model.eval()
        self.step(np.zeros((1, WINDOW), np.float32), self.initial_state()[None])

    def close(self) -> None:
        self._network = None

    def initial_state(self) -> Float32:
        return np.zeros(self.STATE, np.float32)

    def step(self, audio: Float32, state: Float32) -> tuple[Float32, Float32]:
        network = loaded(self._network, self.name)
        if len(audio) == 0:
            return np.zeros(0, np.float32), state
        inputs = [torch.from_numpy(part).to(self._device) for part in unpacked(audio, state)]
        # Optimised, TorchScript compiles anew for batch sizes it has not seen, which would be in
        # the middle of somebody's sentence.
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            probability, recurrent = network(*inputs)
        return probability[:, 0].cpu().numpy(), packed(audio, recurrent.cpu().numpy())
