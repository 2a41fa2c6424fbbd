"""What the engines of this stage are, and which there are: one that hears speech, and one that
tells by a turn's sound whether it is over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.audio import Float32, Int16
from shared.registry import create_engine
from shared.settings import Settings

WINDOW = 512
"""Samples of 16 kHz audio in one step: 32 ms."""

TURN_SAMPLES = 8 * 16_000
"""Of a turn, the engine that tells whether it is over hears this much, its end."""


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


class TurnEngine(Protocol):
    """Tells how likely somebody who is silent has said all they wanted to, by how it sounded.

    It keeps nothing of a session, and says the same of the same audio whatever it is asked
    together with, so that a successor decides alike.
    """

    name: str
    model: str
    batch: int
    """How many turns it is best asked about at once."""

    def load(self) -> None:
        """Makes sure that `over` will work; blocks.

        Raises:
            ModelMissing: the model is not on this machine.
        """

    def close(self) -> None:
        """Frees the model."""

    def over(self, turns: Sequence[Int16]) -> Float32:
        """How likely each of B turns is over, float32 (B,) in [0, 1]; blocks.

        Args:
            turns: the end of each turn, int16 (n,) at 16 kHz with 0 < n <= 128,000, up to and
                including the silence so far.
        """


@dataclass(frozen=True, slots=True)
class Hearing:
    """Both engines, as a worker loads and closes them."""

    vad: VadEngine
    turns: TurnEngine

    @property
    def model(self) -> str:
        return f"{self.vad.model}, {self.turns.model}"

    def load(self) -> None:
        self.vad.load()
        self.turns.load()

    def close(self) -> None:
        self.vad.close()
        self.turns.close()


def _silero(settings: Settings) -> VadEngine:
    from workers.vad.engines.silero import SileroEngine

    return SileroEngine(settings)


def _silero_torch(settings: Settings) -> VadEngine:
    from workers.vad.engines.silero_torch import SileroTorchEngine

    return SileroTorchEngine(settings)


def _energy(settings: Settings) -> VadEngine:
    from workers.vad.engines.energy import EnergyEngine

    return EnergyEngine()


def _smart_turn(settings: Settings) -> TurnEngine:
    from workers.vad.engines.smart_turn import SmartTurnEngine

    return SmartTurnEngine(settings)


def _length(settings: Settings) -> TurnEngine:
    from workers.vad.engines.length import LengthEngine

    return LengthEngine()


ENGINES: dict[str, Callable[[Settings], VadEngine]] = {
    "silero": _silero,
    "silero-torch": _silero_torch,
    "energy": _energy,
}
TURN_ENGINES: dict[str, Callable[[Settings], TurnEngine]] = {
    "smart-turn": _smart_turn,
    "length": _length,
}


def create(settings: Settings) -> Hearing:
    """The engines that `PARLEY_VAD_ENGINE` and `PARLEY_TURN_ENGINE` or the profile name;
    EngineMissing if there is none."""
    return Hearing(
        create_engine("vad", ENGINES, settings), create_engine("turn", TURN_ENGINES, settings)
    )
