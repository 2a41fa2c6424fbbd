"""What a microphone hears; and recordings as one hears them: small frames, each when it is due."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

import numpy as np

from client.ring import Ring
from shared.audio import Int16, Resampler

SAMPLE_RATE = 24_000
"""Rate in Hz of audio in the Realtime protocol's `audio/pcm`, both ways."""

FRAME_S = 0.02  # the usual frame of real-time audio
FRAME = round(FRAME_S * SAMPLE_RATE)

_RECORDED_S = 10


class Microphone:
    """What is recorded, from the audio thread to one other."""

    def __init__(self, rate: int) -> None:
        """`rate`: the device's, in Hz."""
        self.rate = rate
        self._ring = Ring(_RECORDED_S * rate)
        self._least = round(FRAME_S * rate)
        self._resampler = Resampler(rate, SAMPLE_RATE)
        self._lost = 0

    @property
    def lost_s(self) -> float:
        """How much was recorded and not taken for ten seconds."""
        return self._lost / self.rate

    def push(self, samples: Int16) -> None:
        """Takes int16 (n,) at the device's rate: the audio thread's side."""
        self._lost += len(samples) - self._ring.write(samples)

    def take(self) -> Int16 | None:
        """What was recorded since, int16 (n,) at 24 kHz; None while that is less than 20 ms."""
        waiting = self._ring.waiting
        if waiting < self._least:
            return None
        recorded = np.empty(waiting, np.int16)
        self._ring.read(recorded)
        return self._resampler.process(recorded)


def frames(samples: Int16) -> Iterator[Int16]:
    """int16 (n,) at 24 kHz in frames of 20 ms; the last may be shorter."""
    return (samples[at : at + FRAME] for at in range(0, len(samples), FRAME))


def silence() -> Iterator[Int16]:
    """Silent frames of 20 ms, without end."""
    return itertools.repeat(np.zeros(FRAME, np.int16))


async def paced(
    audio: Iterable[Int16],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Int16]:
    """Every frame at 24 kHz when its last sample would have been recorded.

    The clock is absolute, so a late frame does not delay those after it: nothing drifts.
    """
    start = clock()
    recorded = 0
    for frame in audio:
        recorded += len(frame)
        await sleep(max(0.0, start + recorded / SAMPLE_RATE - clock()))
        yield frame
