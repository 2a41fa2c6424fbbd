"""What the callers of a run do, and when. Pure: no clock, no chance but a seed."""

import random
from typing import Literal

import msgspec

Arrival = Literal["together", "staggered"]
Protocol = Literal["realtime", "original"]

_ANSWER_S = 4.0
"""How long an answer takes, about: over so long the turns of staggered callers are spread."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """So many sessions, each asking the same recorded question again and again.

    `arrival`: whether all begin to ask at the same instant, the worst case, or spread over a turn.
    `ramp_s`: over how long the sessions arrive. `every_s`: a turn begins so long after the one
    before it, whatever became of that one; None: `pause_s` after its answer was heard. Every
    `interrupt`-th answer is talked over, `interrupt_s` after it began; 0 is none. The first
    `warm_up` turns of a session do not count. `give_up_s` is how long an answer is waited for.
    """

    sessions: int
    turns: int = 5
    arrival: Arrival = "staggered"
    ramp_s: float = 0.0
    every_s: float | None = None
    pause_s: float = 1.0
    interrupt: int = 0
    interrupt_s: float = 1.0
    warm_up: int = 1
    silence_ms: int = 300
    give_up_s: float = 30.0
    protocol: Protocol = "realtime"

    def counts(self, turn: int) -> bool:
        """Whether a turn, numbered from 0, is one that is measured."""
        return turn >= self.warm_up

    def interrupts(self, turn: int) -> bool:
        """Whether the answer to a turn, numbered from 0, is talked over."""
        last = turn == self.turns - 1
        return bool(self.interrupt) and not last and (turn + 1) % self.interrupt == 0


def starts_s(scenario: Scenario, question_s: float, seed: int = 0) -> list[float]:
    """When each session begins to ask, from the beginning of the run on, given how long its
    question is."""
    arrivals = [scenario.ramp_s * n / scenario.sessions for n in range(scenario.sessions)]
    if scenario.arrival == "together":
        return arrivals
    cycle_s = scenario.every_s or question_s + _ANSWER_S + scenario.pause_s
    chance = random.Random(seed)
    return [arrival + chance.uniform(0, cycle_s) for arrival in arrivals]
