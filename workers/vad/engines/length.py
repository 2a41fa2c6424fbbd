"""The end of a turn by how much was said: no model, for tests of everything around one."""

from collections.abc import Sequence

import numpy as np

from shared.audio import Float32, Int16, to_float32

_BLOCK = 160
_SOUND_DB = -45.0
_CERTAIN_S = 0.6


class LengthEngine:
    """An "um" is no turn: 0 for no sound at all, 1 from 600 ms of it on, linear between.

    Sound is what is louder than -45 dBFS, in blocks of 10 ms; silence in it does not count.
    """

    name = "length"
    model = "length"
    batch = 64

    def load(self) -> None:
        pass

    def close(self) -> None:
        pass

    def over(self, turns: Sequence[Int16]) -> Float32:
        return np.array([min(_sound_s(turn) / _CERTAIN_S, 1.0) for turn in turns], np.float32)


def _sound_s(turn: Int16) -> float:
    blocks = to_float32(turn[: len(turn) // _BLOCK * _BLOCK]).reshape(-1, _BLOCK)
    power = np.mean(np.square(blocks, dtype=np.float64), axis=1)
    return float(np.count_nonzero(power > 10 ** (_SOUND_DB / 10))) * _BLOCK / 16_000
