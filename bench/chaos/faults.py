"""Which faults there are, and a run's schedule of them: drawn from its seed. No I/O."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.profiles import STAGES, Stage

Action = Literal["kill", "stop", "term", "pause", "cut", "slow", "delay", "stall"]
Target = Literal["gateway", Stage, "broker", "client"]

PROCESSES: tuple[Target, ...] = ("gateway", *STAGES)
GROUPS = ("workers", "gateway", "broker", "client")
"""What `--faults` can name."""

# Longer than a lease (1.5 s), and than the time after which a silent worker counts as dead (4 s).
_STOPPED_S = (2.0, 6.0)
_SETTLES_S = 2.0  # until a fault counts as over, so that there are never too many at once
_LENGTHS_S: dict[tuple[Action, Target], tuple[float, float]] = {
    ("stop", "broker"): (1.0, 5.0),
    ("pause", "broker"): (1.0, 5.0),
    ("cut", "client"): (0.0, 4.0),
    ("slow", "client"): (2.0, 6.0),
    ("delay", "client"): (3.0, 8.0),
    ("stall", "client"): (0.3, 3.0),
}
# Everything waits for the broker, so that a run in which it is often away shows little else.
_BROKER_WEIGHT = 0.4


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: `kill`, `stop` (SIGSTOP, later SIGCONT) and `term` strike processes,
    `pause` is the broker's CLIENT PAUSE, and `cut`, `slow`, `delay` and `stall` are the network's.
    """

    action: Action
    target: Target

    def __str__(self) -> str:
        return f"{self.action} {self.target}"

    @property
    def group(self) -> str:
        return "workers" if self.target in STAGES else self.target

    @property
    def weight(self) -> float:
        """How often it is drawn, 1 being usual."""
        return _BROKER_WEIGHT if self.target == "broker" else 1.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a schedule, `at_s` after its beginning.

    `choice` in [0, 1) says which of the targets that there are then, and how the network
    behaves. `lasts_s` is 0 where the fault is over at once.
    """

    number: int
    at_s: float
    kind: Kind
    choice: float
    lasts_s: float

    @property
    def busy_until_s(self) -> float:
        return self.at_s + self.lasts_s + _SETTLES_S


KINDS: tuple[Kind, ...] = (
    *(Kind(action, target) for target in PROCESSES for action in ("kill", "stop", "term")),
    *(Kind(action, "broker") for action in ("kill", "stop", "term", "pause")),
    *(Kind(action, "client") for action in ("cut", "slow", "delay", "stall")),
)


def kinds_of(groups: str) -> list[Kind]:
    """The kinds in `groups`: "all", "none", or some of GROUPS with commas between.

    Raises:
        ValueError: a group that there is not.
    """
    if groups in ("all", "none"):
        return list(KINDS) if groups == "all" else []
    named = groups.split(",")
    for group in named:
        if group not in GROUPS:
            known = ", ".join(GROUPS)
            raise ValueError(f"faults must be all, none, or some of {known}, not {group!r}")
    return [kind for kind in KINDS if kind.group in named]


def schedule(
    seed: int, kinds: Sequence[Kind], every_s: float, most_at_once: int
) -> Iterator[Fault]:
    """Faults without end, `every_s` apart on average, each kind as often as its weight says.

    No more than `most_at_once` are being recovered from at any time, and of the one broker's
    faults no more than one.
    """
    dice = random.Random(f"faults {seed}")
    at_s, number = 0.0, 0
    active: list[Fault] = []
    while kinds:
        at_s += dice.expovariate(1 / every_s)
        kind = dice.choices(kinds, [kind.weight for kind in kinds])[0]
        at_s = max(at_s, _room_at(active, kind, most_at_once))
        fault = Fault(number, at_s, kind, dice.random(), _length_s(kind, dice))
        active = [other for other in active if other.busy_until_s > at_s] + [fault]
        yield fault
        number += 1


def _room_at(active: Sequence[Fault], kind: Kind, most_at_once: int) -> float:
    """The earliest time at which one more fault is not one too many."""
    ends = sorted(fault.busy_until_s for fault in active)
    room_s = ends[-most_at_once] if len(ends) >= most_at_once else 0.0
    if kind.target == "broker":
        broker = [fault.busy_until_s for fault in active if fault.kind.target == "broker"]
        room_s = max([room_s, *broker])
    return room_s


def _length_s(kind: Kind, dice: random.Random) -> float:
    usual = _STOPPED_S if kind.action == "stop" else (0.0, 0.0)
    return dice.uniform(*_LENGTHS_S.get((kind.action, kind.target), usual))
