"""Audio formats of the protocol: what the wire carries and what Parley works with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.protocols.realtime.noise import NoiseReduction
from shared.audio import (
    SAMPLE_RATE,
    Int16,
    Resampler,
    alaw_decode,
    alaw_encode,
    mulaw_decode,
    mulaw_encode,
    pcm16,
)


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One format: its rate in Hz, and its bytes to and from int16 samples."""

    rate: int
    sample_bytes: int
    decode: Callable[[bytes], Int16]
    encode: Callable[[Int16], bytes]

    @property
    def second_bytes(self) -> int:
        """How many bytes a second of it has."""
        return self.rate * self.sample_bytes


FORMATS = {
    "audio/pcm": AudioFormat(24_000, 2, pcm16, lambda samples: samples.tobytes()),
    "audio/pcmu": AudioFormat(8_000, 1, mulaw_decode, mulaw_encode),
    "audio/pcma": AudioFormat(8_000, 1, alaw_decode, alaw_encode),
}


def of_rate(rate: int) -> str:
    """The name of the first format of that rate, in Hz."""
    return next(name for name, found in FORMATS.items() if found.rate == rate)


TICKS = 48_000
"""Units of a second in which samples of every format, and milliseconds, are whole numbers."""


def described(name: str) -> dict[str, Any]:
    """The format as the protocol writes it."""
    return {"type": name, "rate": 24_000} if name == "audio/pcm" else {"type": name}


class Microphone:
    """A client's audio on its way in: any chunking of bytes to 16 kHz samples, no seam.

    `taken` is how much of the session's audio was taken in so far, by this microphone and those
    before it, in ticks of which a second has `TICKS`: so many that no rate leaves a remainder.
    """

    def __init__(
        self, audio_format: AudioFormat, taken: int = 0, noise: NoiseReduction | None = None
    ) -> None:
        """With `noise`, which may have learned of it from another microphone, there is less."""
        self.format = audio_format
        self.taken = taken
        self._resampler = Resampler(audio_format.rate, SAMPLE_RATE, self.position)
        self._noise = noise
        if noise is not None:
            noise.begin()
        self._rest = b""

    @property
    def position(self) -> int:
        """The sample of the session, at 16 kHz, that comes next."""
        return self.taken * SAMPLE_RATE // TICKS

    def take(self, data: bytes) -> Int16:
        """The samples in `data`; half a sample waits for the rest."""
        data = self._rest + data
        whole = len(data) - len(data) % self.format.sample_bytes
        self._rest = data[whole:]
        self.taken += whole // self.format.sample_bytes * TICKS // self.format.rate
        samples = self._resampler.process(self.format.decode(data[:whole]))
        return self._noise.process(samples) if self._noise else samples

    def end(self) -> Int16:
        """What is still held back. Audio that follows needs a new microphone."""
        samples = self._resampler.process(self.format.decode(b""), last=True)
        if self._noise is None:
            return samples
        return np.concatenate([self._noise.process(samples), self._noise.end()])
