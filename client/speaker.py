"""Playing answers: between the network and a loudspeaker's own thread. No I/O, nobody waits."""

from collections import deque
from typing import NamedTuple

import numpy as np

from client.microphone import SAMPLE_RATE
from client.ring import Ring
from shared.audio import Int16, Resampler

# The server sends at most a second ahead, and a minute at once where a session is resumed.
_CAPACITY_S = 120
# What is at hand before an answer is begun, or goes on after it ran dry, unless it ends sooner.
_AHEAD_S = 0.08
_LEVEL_S = 0.05
_QUIETEST_DB = -60.0
_MOST_CUT = 64


class Cut(NamedTuple):
    """An item that was not heard to its end, and how many ms of it left for the device."""

    item_id: str
    played_ms: int


class _Item:
    """Where an item's samples lie in the ring: `end` grows until it is `whole`."""

    def __init__(self, item_id: str, start: int) -> None:
        self.item_id = item_id
        self.start = self.end = start
        self.whole = False


class Playback:
    """The assistant's audio between the network and the loudspeaker.

    `pull` is the audio thread's; everything else belongs to one other thread. Memory is bounded by
    two minutes of audio; what is sent further ahead is lost, and counted.
    """

    def __init__(self, rate: int) -> None:
        """`rate`: the loudspeaker's, in Hz."""
        self.rate = rate
        self._ring = Ring(_CAPACITY_S * rate)
        self._resampler = Resampler(SAMPLE_RATE, rate)
        self._items: deque[_Item] = deque()
        self._cut: deque[str] = deque(maxlen=_MOST_CUT)  # items of which more may still come
        self._flowing = False
        self.underruns = 0
        """How often an item ran dry in its middle."""
        self._lost = 0

    def play(self, item_id: str, samples: Int16) -> None:
        """Adds int16 (n,) at 24 kHz of an item, unless it was cut off."""
        if item_id in self._cut:
            return
        if not self._items or self._items[-1].item_id != item_id:
            self._items.append(_Item(item_id, self._ring.written))
        self._add(self._resampler.process(samples))

    def end(self, item_id: str) -> None:
        """No more of an item comes."""
        if self._items and self._items[-1].item_id == item_id:
            self._add(self._resampler.process(np.empty(0, np.int16), last=True))
            self._resampler = Resampler(SAMPLE_RATE, self.rate)
            self._items[-1].whole = True

    def cut(self, latency_s: float = 0.0) -> list[Cut]:
        """Falls silent; returns which items were so cut off.

        `latency_s`: how long the device takes to sound what it was given.
        """
        self._ring.skip()
        heard_to = self._ring.taken - round(latency_s * self.rate)
        self._flowing = False
        self._resampler = Resampler(SAMPLE_RATE, self.rate)
        cut = []
        for item in self._items:
            if not item.whole or heard_to < item.end:
                heard = min(max(heard_to - item.start, 0), item.end - item.start)
                cut.append(Cut(item.item_id, heard * 1000 // self.rate))
        self._items.clear()
        self._cut.extend(item_id for item_id, _ in cut)
        return cut

    def heard_out(self) -> list[str]:
        """Items that were played to their end since this was asked last."""
        heard = []
        while self._items and self._items[0].whole and self._ring.taken >= self._items[0].end:
            heard.append(self._items.popleft().item_id)
        return heard

    @property
    def lost_s(self) -> float:
        """How much audio found no room."""
        return self._lost / self.rate

    @property
    def level(self) -> float:
        """How loud it is, from 0 to 1."""
        return level(self._ring.latest(round(_LEVEL_S * self.rate))) if self._flowing else 0.0

    def pull(self, out: Int16) -> None:
        """Fills `out`, int16 (n,), with what comes next, and silence where there is nothing."""
        count = 0
        if self._flowing or self._enough():
            count = self._ring.read(out)
            self._flowing = count == len(out)
            if not self._flowing and self._more_comes():
                self.underruns += 1
        out[count:] = 0

    def _add(self, samples: Int16) -> None:
        self._lost += len(samples) - self._ring.write(samples)
        self._items[-1].end = self._ring.written

    def _enough(self) -> bool:
        waiting = self._ring.waiting
        return waiting >= _AHEAD_S * self.rate or (waiting > 0 and not self._more_comes())

    def _more_comes(self) -> bool:
        try:
            return not self._items[-1].whole
        except IndexError:  # all was cut off or heard out in this moment
            return False


def level(samples: Int16) -> float:
    """How loud int16 (n,) is: 0 for -60 dB of full scale (RMS) and less, 1 for full scale."""
    if not len(samples):
        return 0.0
    rms = float(np.sqrt(np.mean(np.square(samples / 32768))))
    decibel = 20 * np.log10(rms) if rms > 0 else _QUIETEST_DB
    return float(min(max(1 - decibel / _QUIETEST_DB, 0.0), 1.0))
