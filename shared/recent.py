"""How long things took in the last minutes, as distributions that add up across processes.

Percentiles of a whole do not follow from the percentiles of its parts, so each process counts how
often a duration fell into each of a fixed row of buckets. The row is that of DDSketch (Masson, Rim
and Lee, VLDB 2019): each bucket is a little wider than the one before, so that a percentile read
off it is wrong by at most 2 % of itself.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

WINDOW_S = 300
"""What counts as recent."""

_SLICE_S = 10
_ERROR = 0.02
_GROWTH = (1 + _ERROR) / (1 - _ERROR)
_LONGEST_MS = 600_000.0

Counts = Mapping[int, int]
"""Bucket → how many durations fell into it."""


class Recent:
    """The durations of the last five minutes, in ms; it forgets ten seconds' worth at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slices: deque[tuple[int, Counter[int]]] = deque()

    def add(self, duration_ms: float) -> None:
        now = self._forget()
        if not self._slices or self._slices[-1][0] != now:
            self._slices.append((now, Counter()))
        self._slices[-1][1][_bucket(duration_ms)] += 1

    def counts(self) -> dict[int, int]:
        self._forget()
        return merged(counts for _, counts in self._slices)

    def _forget(self) -> int:
        """Lets go of what is too old; returns the number of the present slice."""
        now = int(self._clock() // _SLICE_S)
        while self._slices and self._slices[0][0] <= now - WINDOW_S // _SLICE_S:
            self._slices.popleft()
        return now


def merged(parts: Iterable[Counts]) -> dict[int, int]:
    """The counts of all parts together."""
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


def percentile_ms(counts: Counts, percent: float) -> float | None:
    """The duration that `percent` of all stay at or below; None if there are none."""
    rank = math.ceil(sum(counts.values()) * percent / 100)
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0:
            return 2 * _GROWTH**bucket / (_GROWTH + 1)
    return None


def _bucket(duration_ms: float) -> int:
    """Of all durations of a millisecond or less, 0."""
    return math.ceil(math.log(min(max(duration_ms, 1.0), _LONGEST_MS), _GROWTH))
