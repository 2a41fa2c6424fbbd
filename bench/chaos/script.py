"""What the sessions of a run say and do: drawn from the run's seed, turn by turn. No I/O."""

import random
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from client import SAMPLE_RATE
from shared.audio import Int16

Choice = TypeVar("Choice")
Way = Literal["spoken", "typed", "push_to_talk"]
Ending = Literal["heard", "talked_over", "cancelled"]

SILENCE_MS = 300
"""Silence that ends a turn, as the gateways under test are configured."""

_WAYS: dict[Way, float] = {"spoken": 0.65, "typed": 0.2, "push_to_talk": 0.15}
_ENDINGS: dict[Ending, float] = {"heard": 0.7, "talked_over": 0.2, "cancelled": 0.1}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the user's and what becomes of its answer.

    `pause_s` is waited before it, unless it talks over the answer before. An answer that is not
    `heard` out is ended once the client has `heard_ms` of its audio: by the next turn's speech,
    or by `response.cancel`.
    """

    session: int
    number: int
    way: Way
    ending: Ending
    tone_ms: int
    tone_hz: int
    pause_s: float
    heard_ms: int

    @property
    def text(self) -> str:
        """What a typed turn says; no other turn of the run says it."""
        return f"turn {self.number} of session {self.session}"

    def speech(self, seed: int) -> Int16:
        """What a spoken turn sounds like, int16 (n,) at 24 kHz: no other turn is the same."""
        length = self.tone_ms * SAMPLE_RATE // 1000
        noise = np.random.default_rng([seed, self.session, self.number]).normal(0, 300, length)
        tone = 9_000 * np.sin(2 * np.pi * self.tone_hz * np.arange(length) / SAMPLE_RATE)
        return (tone + noise).astype(np.int16)


def script(seed: int, session: int, turns: int, pause_s: float) -> list[Turn]:
    """The turns of one session, `pause_s` apart on average: the same for the same arguments."""
    dice = random.Random(f"script {seed} {session}")
    said: list[Turn] = []
    for number in range(turns):
        over = bool(said) and said[-1].ending == "talked_over"
        way = "spoken" if over else _one_of(dice, _WAYS)
        ending = _one_of(dice, _ENDINGS)
        if number == turns - 1 and ending == "talked_over":
            ending = "heard"  # there is nothing more to say
        said.append(
            Turn(
                session=session,
                number=number,
                way=way,
                ending=ending,
                tone_ms=dice.randrange(400, 1_000, 10),
                tone_hz=dice.randrange(200, 900),
                pause_s=dice.uniform(0.5, 1.5) * pause_s,
                heard_ms=dice.randrange(100, 900, 100),
            )
        )
    return said


def _one_of(dice: random.Random, weights: dict[Choice, float]) -> Choice:
    return dice.choices(list(weights), list(weights.values()))[0]
