"""Sending a recording as a microphone would: small frames, each when it would be complete."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

import numpy as np

from shared.audio import Int16

SAMPLE_RATE = 24_000
"""Rate in Hz of audio in the Realtime protocol's `audio/pcm`, both ways."""

FRAME = SAMPLE_RATE // 50  # 20 ms, the usual frame of real-time audio


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
