"""How long the turns that a fault struck had to wait. No I/O.

A turn is struck by a worker's fault if that stage had work of it then, by a gateway's if its
client was connected there, by a client's if it was that client's, by the broker's in any case.
Its wait is the longest time in which nothing came towards its answer (no transcript, text,
audio, end), counted from the fault or from when its last sample was sent, whichever is later,
until its end: all that its person noticed, engine time included. While audio is played out
something comes every 100 ms, so what is longer is a pause in what is heard.

A fault's recovery is the wait of the turn that waited longest of those it struck. Turns that
another fault had struck too, or whose fault met others of its kind not yet back at work, say
nothing about either: they count for the worst of all, not for the percentiles.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.chaos.faults import Kind, Target
from bench.chaos.record import Exchange, Progress


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it happened: what was the matter from `at_s` to `until_s`; from `settled_s` on
    the system was whole again.

    `victim` is the process's or broker's name; `index` the gateway's or the session's number.
    """

    kind: Kind
    at_s: float
    until_s: float
    settled_s: float
    victim: str
    index: int


@dataclass(frozen=True, slots=True)
class Served:
    """A time during which a client was connected to a gateway."""

    gateway: int
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """When one turn reached what, on the clock of its client."""

    session: int
    turn: int
    began_s: float
    asked_s: float
    progress: Sequence[tuple[float, Progress]]
    served: Sequence[Served]

    @classmethod
    def of(cls, session: int, exchange: Exchange, served: Sequence[Served]) -> "Timeline":
        """That of a turn that was carried out."""
        asked_s = math.inf if exchange.asked_s is None else exchange.asked_s
        progress = tuple(sorted(exchange.progress))
        return cls(session, exchange.turn.number, exchange.began_s, asked_s, progress, served)

    @property
    def end_s(self) -> float:
        return self.progress[-1][0] if self.progress else math.inf

    def work(self, target: Target) -> tuple[float, float] | None:
        """From when to when a stage had work of this turn, as far as a client can see; for
        gateways, clients and the broker from its first sample to its end."""
        begins: dict[Target, float | None] = {
            "vad": self.began_s if self._first("committed") else None,
            "stt": self._first("committed"),
            "llm": self._first("created"),
            "tts": self._first("text"),
        }
        text_s, audio_s = self._last("text"), self._first("audio")
        ends: dict[Target, float | None] = {
            "vad": self._first("committed"),
            "stt": self._first("transcribed"),
            "llm": text_s,
            "tts": max(text_s, audio_s) if text_s and audio_s else None,
        }
        begin, end = begins.get(target, self.began_s), ends.get(target, self.end_s)
        return None if begin is None or end is None else (begin, end)

    def _first(self, step: Progress) -> float | None:
        return next((at_s for at_s, reached in self.progress if reached == step), None)

    def _last(self, step: Progress) -> float | None:
        return next((at_s for at_s, reached in reversed(self.progress) if reached == step), None)


def strikes(fault: Struck, timeline: Timeline) -> bool:
    """Whether a fault struck a turn."""
    target = fault.kind.target
    work = timeline.work(target)
    if work is None or work[0] > fault.until_s or work[1] < fault.at_s:
        return False
    if target == "client":
        return fault.index == timeline.session
    if target == "gateway":
        return any(
            served.gateway == fault.index
            and served.from_s <= fault.until_s
            and served.until_s >= fault.at_s
            for served in timeline.served
        )
    return True


def wait_s(fault: Struck, timeline: Timeline) -> float:
    """The longest time without progress that the turn saw from the fault on."""
    begin_s = max(fault.at_s, timeline.asked_s)
    seen = [at_s for at_s, _ in timeline.progress if at_s > begin_s]
    return max((b - a for a, b in itertools.pairwise([begin_s, *seen])), default=0.0)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is known of one kind of fault.

    `alone_s` is, for each fault that had turns for itself, the longest wait among them;
    `worst_s` the longest wait of any turn it struck, whatever else did.
    """

    kind: Kind
    faults: int
    turns: int
    alone_s: Sequence[float]
    worst_s: float


def recoveries(faults: Sequence[Struck], timelines: Sequence[Timeline]) -> list[Recovery]:
    """For each kind of fault that there was, in order of name."""
    struck = {
        (number, turn)
        for number, fault in enumerate(faults)
        for turn, timeline in enumerate(timelines)
        if strikes(fault, timeline)
    }
    by_fault: dict[int, list[int]] = {}
    for number, turn in sorted(struck):
        by_fault.setdefault(number, []).append(turn)

    def alone(number: int, turn: int) -> bool:
        mine, timeline = faults[number], timelines[turn]
        others = (
            other
            for other in faults
            if other is not mine and other.at_s <= timeline.end_s and other.settled_s >= mine.at_s
        )
        return not any(
            other.kind.target == mine.kind.target != "client" or strikes(other, timeline)
            for other in others
        )

    def of_kind(kind: Kind, numbers: Sequence[int]) -> Recovery:
        turns = [(number, turn) for number in numbers for turn in by_fault.get(number, [])]
        waits = {pair: wait_s(faults[pair[0]], timelines[pair[1]]) for pair in turns}
        alone_s = [
            max(mine)
            for number in numbers
            if (mine := [waits[p] for p in turns if p[0] == number and alone(*p)])
        ]
        return Recovery(kind, len(numbers), len(turns), alone_s, max(waits.values(), default=0.0))

    kinds = sorted({fault.kind for fault in faults}, key=lambda kind: (kind.target, kind.action))
    numbered = list(enumerate(faults))
    return [of_kind(kind, [n for n, fault in numbered if fault.kind == kind]) for kind in kinds]


def quantile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least `share` of them do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
