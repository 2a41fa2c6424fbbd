"""Samples from one thread to another, of which one is an audio device's and must not wait."""

import numpy as np

from shared.audio import Int16


class Ring:
    """A ring of samples that one thread writes and another reads.

    Each side changes positions of its own alone, which count samples since the beginning, so that
    neither needs a lock.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity` in samples."""
        self._samples = np.zeros(capacity, np.int16)
        self._skip_to = 0  # the writer's: what was written before is not read any more
        self._read = 0
        self.written = 0
        self.taken = 0
        """The end of what was really copied out, which what was skipped is not."""

    @property
    def waiting(self) -> int:
        """How many samples can be read."""
        return self.written - max(self._read, self._skip_to)

    def write(self, samples: Int16) -> int:
        """Takes int16 (n,) as far as there is room; returns how many that is."""
        capacity = len(self._samples)
        count = min(len(samples), capacity - (self.written - self._read))
        at = self.written % capacity
        first = min(count, capacity - at)
        self._samples[at : at + first] = samples[:first]
        self._samples[: count - first] = samples[first:count]
        self.written += count
        return count

    def read(self, out: Int16) -> int:
        """Copies what comes next into `out`, int16 (n,); returns how many samples there were.

        Nothing is allocated but the views of what is copied.
        """
        capacity = len(self._samples)
        start = max(self._read, self._skip_to)
        count = min(len(out), self.written - start)
        at = start % capacity
        first = min(count, capacity - at)
        out[:first] = self._samples[at : at + first]
        out[first:count] = self._samples[: count - first]
        if count:
            self.taken = start + count
        self._read = start + count
        return count

    def skip(self) -> None:
        """Has what waits never be read; the writer's side."""
        self._skip_to = self.written

    def latest(self, count: int) -> Int16:
        """The last `count` samples that were read, fewer at the beginning; for a meter."""
        end = self.taken
        places = np.arange(max(0, end - count), end) % len(self._samples)
        return self._samples[places]
