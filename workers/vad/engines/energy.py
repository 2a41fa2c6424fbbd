"""Speech by loudness alone: no model, for tests of everything around one."""

import numpy as np

from shared.audio import Float32

# Full-scale decibels: below the first it is silence for certain, above the second speech.
_SILENCE_DB, _SPEECH_DB = -60.0, -30.0


class EnergyEngine:
    """Calls a window speech by its RMS level: 0 at -60 dBFS, 1 at -30 dBFS, linear between."""

    name = "energy"
    model = "energy"
    STATE = 1  # the level of the last window in dBFS; only what travels like a model's state

    def load(self) -> None:
        pass

    def close(self) -> None:
        pass

    def initial_state(self) -> Float32:
        return np.full(self.STATE, _SILENCE_DB, np.float32)

    def step(self, audio: Float32, state: Float32) -> tuple[Float32, Float32]:
        power = np.mean(np.square(audio, dtype=np.float64), axis=1)
        level_db = 10 * np.log10(np.maximum(power, 1e-10))
        probability = (level_db - _SILENCE_DB) / (_SPEECH_DB - _SILENCE_DB)
        states = level_db[:, None].astype(np.float32)
        return probability.clip(0, 1).astype(np.float32), states
