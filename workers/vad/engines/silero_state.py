"""What the Silero models remember of a session, the same whatever runs them.

They hear 512 samples together with the 64 before them and carry a recurrent state of two vectors
of 128 (https://github.com/snakers4/silero-vad). A session's state is both, flat, so a session goes
on with either engine.
"""

import numpy as np

from shared.audio import Float32

_CONTEXT = 64
_RECURRENT = (2, 128)
STATE = _RECURRENT[0] * _RECURRENT[1] + _CONTEXT
"""Number of float32 that a session's state has."""


def unpacked(audio: Float32, state: Float32) -> tuple[Float32, Float32]:
    """What the model is given, of the windows (B, 512) and the states before them (B, STATE).

    Returns:
        The samples it hears, float32 (B, 576), and its recurrent state, float32 (2, B, 128), in
        arrays of their own, which may be written to.
    """
    recurrent, context = state[:, :-_CONTEXT], state[:, -_CONTEXT:]
    vectors = recurrent.reshape(len(state), *_RECURRENT).transpose(1, 0, 2)
    return np.concatenate([context, audio], axis=1), vectors.copy()


def packed(audio: Float32, recurrent: Float32) -> Float32:
    """The states after the windows (B, 512), of the recurrent state (2, B, 128): (B, STATE)."""
    flat = recurrent.transpose(1, 0, 2).reshape(len(audio), -1)
    return np.concatenate([flat, audio[:, -_CONTEXT:]], axis=1)
