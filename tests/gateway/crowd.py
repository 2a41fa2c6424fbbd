"""A server in virtual time: a stage with slots, whoever talks to it, and a crowd that comes.

The worker's queueing and the gateway's admission are the real ones; only time is not.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gateway.admission import Admission, Overloaded
from shared.footprint import Footprint
from shared.heartbeat import INTERVAL_S, WorkerInfo
from shared.queueing import Queueing

_ROUND_S = 0.3  # in which a worker looks at its queue
_BROKER_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Stage:
    """`slots` jobs at a time, each for `service_s`; each session has one every `every_s`, the first
    as soon as it has said something."""

    slots: int
    service_s: float
    every_s: float = 10.0

    @property
    def capacity(self) -> float:
        """The sessions that keep all slots taken."""
        return self.slots * self.every_s / self.service_s


@dataclass(eq=False)
class Server:
    """Runs `stage` in virtual time from 0 s on."""

    stage: Stage
    admission_limit_ms: int
    seed: int = 0
    waited_s: list[tuple[int, float, float]] = field(default_factory=list)
    """Of each job: whose, when it came, how long it waited."""
    refused: int = 0
    let_in: int = 0

    def __post_init__(self) -> None:
        self.now_s = 0.0
        self.chance = random.Random(self.seed)
        self.admission = Admission(self.admission_limit_ms, lambda: self.now_s, self.chance)
        self._queueing = Queueing(lambda: self.now_s)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self.sessions = 0
        self._waiting: deque[tuple[str, int, float]] = deque()
        self._running = 0
        self._at(0, self._look)
        self._at(0, self._observe)

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, do = heapq.heappop(self._events)
            do()

    def talks(self, at_s: float) -> None:
        """Somebody talks from then on who need not ask."""
        self._at(at_s, self._joins)

    def comes(self, at_s: float) -> None:
        """Somebody wants to talk then; whoever gets in talks for good."""
        self._at(at_s, self._knocks)

    def _at(self, time_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._number), do))

    def _knocks(self) -> None:
        try:
            self.admission.admit(str(self.sessions), self.sessions)
        except Overloaded:
            self.refused += 1
        else:
            self.let_in += 1
            self._joins()

    def _joins(self) -> None:
        number = self.sessions
        self.sessions += 1
        said_s = self.chance.uniform(0.4, 1.0) * self.stage.every_s
        self._at(self.now_s + said_s, lambda: self._asks(number))

    def _asks(self, session: int) -> None:
        entry = f"{_BROKER_MS + round(self.now_s * 1000)}-{next(self._number)}"
        self._waiting.append((entry, session, self.now_s))
        self._begin()
        again_s = self.stage.every_s * self.chance.uniform(0.7, 1.3)
        self._at(self.now_s + again_s, lambda: self._asks(session))

    def _begin(self) -> None:
        while self._waiting and self._running < self.stage.slots:
            entry, session, came_s = self._waiting.popleft()
            self._queueing.takes(entry)
            self._queueing.began(entry)
            self._running += 1
            self.waited_s.append((session, came_s, self.now_s - came_s))
            self._at(self.now_s + self.stage.service_s, partial(self._ends, entry))

    def _ends(self, entry: str) -> None:
        self._queueing.gone(entry)
        self._running -= 1
        self._begin()

    def _look(self) -> None:
        self._queueing.tell(_BROKER_MS + round(self.now_s * 1000))
        self._queueing.unread(self._waiting[0][0] if self._waiting else None)
        self._at(self.now_s + _ROUND_S, self._look)

    def _observe(self) -> None:
        delay_ms, busy = self._queueing.delay_ms, round(self._queueing.busy, 2)
        said = WorkerInfo(
            worker_id="llm",
            stage="llm",
            ready=True,
            slots=self.stage.slots,
            busy=busy,
            queue_delay_ms=delay_ms,
        )
        gateway = Footprint()  # another machine's, where there is time enough
        self._at(
            self.now_s + INTERVAL_S, lambda: self.admission.observe([said], gateway, self.sessions)
        )
        self._at(self.now_s + 1, self._observe)
