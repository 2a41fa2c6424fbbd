"""Who is let in, and who had better try again later: so that those who talk already are answered
as fast as before. Pure: it is told what workers say of themselves, and what time it is.

Two things are asked before a session is opened. **Does work wait?** Once a stage's queue delay
(`shared.queueing`) exceeds the limit, nobody is let in until it is below half of it. **Will it?** A
session is silent until its first turn, and its load shows as an average: of a crowd that comes
within seconds all would get in before any queue tells. What newcomers will ask for is therefore
estimated: as much as those do whose load is known. Nobody is let in for whom more of a stage's
slots, of a machine's processors, or of the one processor that a gateway can use, would be taken
than leaves the queue short. A server of whose sessions nothing is known yet lets everybody in.

Each gateway decides by itself. It sees the load of all and divides it by the sessions of its own:
of several gateways each takes a session for so much heavier, and has so many newcomers fewer.
"""

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from shared.footprint import Footprint
from shared.heartbeat import WorkerInfo
from shared.profiles import STAGES
from shared.queueing import WINDOW_S

# For the chance to find all slots taken to be the same, few slots must be free for a larger part
# of the time than many, by the square root of their number (Halfin and Whitt, Operations Research
# 29:3, 1981). With 0.7 it is about one in three, and less where work comes more evenly than chance.
_FREE = 0.7
_LEAST_TAKEN, _MOST_TAKEN = 0.5, 0.75
# A session first asks within about ten seconds, and it takes ten more to show in an average over
# ten: the crowds of `tests/gateway/crowd.py` were too many by a tenth more with twenty than thirty.
_SHOWS_S = 3 * WINDOW_S
# Of an average of the last seconds a crowd would hit upon every low, so what was before counts too;
# and of processors, which are read about once a second, only the second before is known.
_SMOOTHING = 1 / WINDOW_S
# What a gateway takes that serves few is for the most part not for them.
_FEW = 20
# Sooner, the delays of now would still count. Clients that are refused together come back apart.
_RETRY_AFTER_S = (5, 15)


class Unavailable(Exception):
    """No session can be opened or resumed now; it may be tried again in `retry_after_s`."""

    code = "server_error"
    retry_after_s = 1


class Overloaded(Unavailable):
    """A new session would keep those waiting that are open."""

    code = "overloaded"

    def __init__(self, problem: str, retry_after_s: int) -> None:
        super().__init__(f"the server is busy: {problem}; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Admission:
    """Decides for one gateway. A `limit_ms` of 0 lets everybody in."""

    def __init__(
        self,
        limit_ms: int,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._limit_ms = limit_ms
        self._clock = clock
        self._chance = chance or random.Random()
        self._delays_ms: dict[str, int] = {}
        self._waits_for = ""
        # How much is taken, of what may be.
        self._taken: dict[str, float] = {}
        self._processors: dict[str, float] = {}
        self._gateway = Footprint()
        self._own, self._sessions = 0.0, 0.0
        self._came_s: dict[str, float] = {}
        self._left: list[tuple[float, float]] = []

    def observe(self, workers: Sequence[WorkerInfo], gateway: Footprint, sessions: int) -> None:
        """Takes in what the workers that are alive say of themselves, and what this gateway takes
        for the `sessions` that it serves: about once a second."""
        self._forget()
        # Before it is ready a worker loads its model, which takes processors from nobody for long.
        ready = [worker for worker in workers if worker.ready]
        for stage in STAGES:
            its = [worker for worker in ready if worker.stage == stage]
            self._delays_ms[stage] = max((worker.queue_delay_ms for worker in its), default=0)
            slots = sum(worker.slots for worker in its)
            taken = sum(w.busy for w in its) / slots / _most(slots) if slots else 0.0
            before = self._taken.get(stage, 0.0)
            self._taken[stage] = max(taken, before + _SMOOTHING * (taken - before))
        self._processors = {
            machine: (1 - _SMOOTHING) * self._processors.get(machine, 0.0) + _SMOOTHING * taken
            for machine, taken in _processors(ready)
        }
        self._gateway = gateway
        taken = gateway.cpu_percent / 100 / _MOST_TAKEN
        self._own += _SMOOTHING * (taken - self._own)
        self._sessions += _SMOOTHING * (sessions - self._sessions)
        slowest = max(STAGES, key=self._delays_ms.__getitem__)
        bound_ms = self._limit_ms / 2 if self._waits_for else self._limit_ms
        self._waits_for = slowest if self._delays_ms[slowest] > bound_ms else ""

    def admit(self, session_id: str, sessions: int) -> None:
        """Lets one more in beside the `sessions` that this gateway serves, or raises as `check`."""
        self.check(sessions)
        self._came_s[session_id] = self._clock()

    def left(self, session_id: str) -> None:
        """A session is not served here any more."""
        now_s = self._clock()
        seen = min((now_s - self._came_s.pop(session_id, now_s - _SHOWS_S)) / _SHOWS_S, 1.0)
        self._left.append((now_s, seen))

    def check(self, sessions: int) -> None:
        """Whether one more would be let in.

        Raises:
            Overloaded: not now.
        """
        if not self._limit_ms:
            return
        if self._waits_for:
            delay_ms = self._delays_ms[self._waits_for]
            raise self._refusal(f"work waits {delay_ms} ms for {self._waits_for}")
        growth = (sessions + 1) / (self._seen(sessions) + 1)
        for stage, taken in self._taken.items():
            if taken * growth > 1:
                raise self._refusal(f"{stage} has enough to do for the sessions that there are")
        # Whoever comes has audio for the gateway at once, so nobody is unseen: what it takes, as an
        # average, lags no more than the number of sessions.
        own = self._own * (sessions + _FEW) / (self._sessions + _FEW)
        if own > 1:
            raise self._refusal("its gateway has enough to do for the sessions that there are")
        beside = {self._gateway.machine: own / self._gateway.cores}
        for machine, taken in self._processors.items():
            if taken * growth + beside.get(machine, 0.0) > 1:
                raise self._refusal(
                    "its processors have enough to do for the sessions that there are"
                )

    def _seen(self, sessions: int) -> float:
        """Of how many sessions the load that is measured now is: newcomers join by and by, and of
        those who left something still shows."""
        self._forget()
        now_s = self._clock()
        unseen = sum(1 - (now_s - at_s) / _SHOWS_S for at_s in self._came_s.values())
        gone = sum(seen * (1 - (now_s - at_s) / _SHOWS_S) for at_s, seen in self._left)
        return max(sessions - unseen, 0.0) + gone

    def _forget(self) -> None:
        now_s = self._clock()
        self._came_s = {key: at for key, at in self._came_s.items() if at > now_s - _SHOWS_S}
        self._left = [(at_s, seen) for at_s, seen in self._left if at_s > now_s - _SHOWS_S]

    def _refusal(self, problem: str) -> Overloaded:
        return Overloaded(problem, self._chance.randint(*_RETRY_AFTER_S))


def _most(slots: int) -> float:
    """The share of slots that may be taken on average."""
    return min(max(1 - _FREE / math.sqrt(slots), _LEAST_TAKEN), _MOST_TAKEN)


def _processors(workers: Sequence[WorkerInfo]) -> Iterator[tuple[str, float]]:
    """How much of each machine's processors its workers take, of what they may."""
    percent: dict[str, float] = defaultdict(float)
    cores: dict[str, int] = {}
    for worker in workers:
        percent[worker.footprint.machine] += worker.footprint.cpu_percent
        cores[worker.footprint.machine] = worker.footprint.cores
    for machine, taken in percent.items():
        yield machine, taken / 100 / cores[machine] / _MOST_TAKEN
