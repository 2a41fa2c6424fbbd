"""How long a stage's work waits before it begins, and how much is at work: what a worker tells
whoever decides about new sessions.

Pure but for a monotonic clock. When work was added is known by the broker's clock, from its entry
in a stream, so its waiting is counted by the broker's clock too: `tell` says what that shows.
"""

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 10.0
"""How far back delay and load look: about as long as somebody takes from turn to turn."""

# For so long nothing begins in a stage that is merely busy; what waits meanwhile is counted when it
# begins.
_STANDSTILL_MS = 1_000
_PERCENTILE = 0.9
_MOST_SAMPLES = 4096


class Queueing:
    """The queue before one worker.

    Entries are ids of a stream; their first part is the broker's time in ms. Of what was begun, the
    worker does so many entries `at_once`; more take turns.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, at_once: float = math.inf
    ) -> None:
        self._clock = clock
        self._at_once = at_once
        self._offset_ms: float | None = None
        self._waiting: dict[str, int | None] = {}
        self._running: set[str] = set()
        self._samples: deque[tuple[float, float]] = deque(maxlen=_MOST_SAMPLES)
        self._began_s = clock()
        self._unread_ms = 0.0
        self._work_s = 0.0
        self._counted_s = self._began_s
        self._history = deque([(self._began_s, 0.0)])

    def tell(self, broker_ms: int) -> None:
        """What the broker's clock shows now: a reply that says so is understood to be fresh."""
        self._offset_ms = broker_ms - self._clock() * 1000

    def unread(self, entry: str | None) -> None:
        """The oldest entry that no worker has taken, if there is one; told after `tell`."""
        self._unread_ms = 0.0 if entry is None else self._standing_ms(_added_ms(entry))

    def takes(self, entry: str, *, counts: bool = True) -> None:
        """The worker has an entry, and will begin with it. Unless it `counts`, how long it has
        waited says nothing of the queue: its first worker died, say."""
        self._waiting[entry] = _added_ms(entry) if counts else None

    def began(self, entry: str, *, awaited: bool = True) -> None:
        """An engine works on an entry that the worker has. Unless it is `awaited`, nobody notices
        its delay, and only that it began counts."""
        if entry not in self._waiting:
            return
        self._count()
        self._running.add(entry)
        self._began_s = self._clock()
        self._unread_ms = 0.0
        added_ms = self._waiting.pop(entry)
        if awaited and added_ms is not None and self._offset_ms is not None:
            waited_ms = self._began_s * 1000 + self._offset_ms - added_ms
            self._samples.append((self._began_s, max(waited_ms, 0.0)))

    def gone(self, entry: str) -> None:
        """The worker has done with an entry, whether or not it began."""
        self._count()
        self._waiting.pop(entry, None)
        self._running.discard(entry)

    @property
    def delay_ms(self) -> int:
        """How long work waits: the delay that a tenth of what began in the last ten seconds, and
        one entry at least, exceeded; or how long work has been waiting while none began, if that
        is longer and more than a second.

        A single late entry, whose worker was busy with something else or gone, is no queue.
        """
        oldest_s = self._clock() - WINDOW_S
        while self._samples and self._samples[0][0] < oldest_s:
            self._samples.popleft()
        waited = sorted(waited_ms for _, waited_ms in self._samples)
        rank = int(_PERCENTILE * len(waited))
        usual_ms = waited[rank - 1] if rank else 0.0
        taken = [added_ms for added_ms in self._waiting.values() if added_ms is not None]
        taken_ms = self._standing_ms(min(taken)) if taken else 0.0
        return round(max(usual_ms, taken_ms, self._unread_ms))

    @property
    def busy(self) -> float:
        """How many entries were at work on average in the last ten seconds."""
        now_s = self._count()
        while len(self._history) > 1 and self._history[1][0] <= now_s - WINDOW_S:
            self._history.popleft()
        began_s, work_s = self._history[0]
        self._history.append((now_s, self._work_s))
        return (self._work_s - work_s) / (now_s - began_s) if now_s > began_s else 0.0

    def _standing_ms(self, added_ms: int) -> float:
        """How long something added then has waited during which nothing began."""
        if self._offset_ms is None:
            return 0.0
        now_ms = self._clock() * 1000
        stood_ms = min(now_ms + self._offset_ms - added_ms, now_ms - self._began_s * 1000)
        return stood_ms if stood_ms > _STANDSTILL_MS else 0.0

    def _count(self) -> float:
        now_s = self._clock()
        self._work_s += min(len(self._running), self._at_once) * (now_s - self._counted_s)
        self._counted_s = now_s
        return now_s


def _added_ms(entry: str) -> int:
    return int(entry.partition("-")[0])
