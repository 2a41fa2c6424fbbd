"""What a VAD engine is, and which there are."""

from collections.abc import Callable
from typing import Protocol

from shared.audio import Float32
from shared.registry import create_engine
from shared.settings import Settings

WINDOW = 512
"""Samples of 16 kHz audio in one step: 32 ms."""


class VadEngine(Protocol):
    """Tells how likely each window holds speech, for many sessions at once.

    It keeps nothing of a session: what it must remember travels in the session's state, so any
    engine of the same kind can go on with it. `step` may be called from several threads.
    """

    name: str
    model: str
    STATE: int
    """Number of float32 that a session's state has."""

    def load(self) -> None:
        """Loads the model and warms it up; blocks.

        Raises:
            ModelMissing: the model is not on this machine.
        """

    def close(self) -> None:
        """Frees the model."""

    def initial_state(self) -> Float32:
        """The state of a session that was not heard yet: float32 (STATE,)."""

    def step(self, audio: Float32, state: Float32) -> tuple[Float32, Float32]:
        """Hears one window of each of B sessions.

        Args:
            audio: float32 (B, 512) in [-1, 1), 16 kHz.
            state: float32 (B, STATE), each session's state after its previous window.

        Returns:
            How likely each window is speech, float32 (B,) in [0, 1], and the states after it,
            float32 (B, STATE).
        """


def _silero(settings: Settings) -> VadEngine:
    from workers.vad.engines.silero import SileroEngine

    return SileroEngine(settings)


def _energy(settings: Settings) -> VadEngine:
    from workers.vad.engines.energy import EnergyEngine

    return EnergyEngine()


ENGINES: dict[str, Callable[[Settings], VadEngine]] = {"silero": _silero, "energy": _energy}


def create(settings: Settings) -> VadEngine:
    """The engine that `PARLEY_VAD_ENGINE` or the profile names; ValueError if there is none."""
    return create_engine("vad", ENGINES, settings)
