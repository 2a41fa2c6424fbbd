"""What a client sends, and keeps so that it can send it again."""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from client.errors import ParleyError
from client.microphone import SAMPLE_RATE
from shared.audio import Int16

KEPT_AUDIO_S = 60
"""How much of the latest audio is kept; what is older is silence if it is needed again."""

KEPT_REQUESTS = 256
"""How many of the latest requests are kept, and how many more may wait for a connection."""

# A slow network takes whole pieces, each in a time that tells a slow network from a dead one.
_PIECE = SAMPLE_RATE
_SAMPLE_BYTES = 2
_SILENCE = bytes(_PIECE * _SAMPLE_BYTES)


@dataclass(frozen=True, slots=True)
class Request:
    """A client event that is not audio: its number, and how much audio went before it."""

    position: int
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Audio:
    """PCM16 at 24 kHz, little-endian; `position` is that of its first sample in the session."""

    position: int
    pcm: bytes | memoryview

    @property
    def end(self) -> int:
        return self.position + len(self.pcm) // _SAMPLE_BYTES

    def after(self, position: int) -> "Audio":
        """What of it is not before `position`."""
        skipped = max(0, position - self.position)
        return Audio(self.position + skipped, memoryview(self.pcm)[skipped * _SAMPLE_BYTES :])


class Outbox:
    """A session's audio and requests, in the order in which they are sent: no I/O.

    `next` hands out what is to be sent. While the connection is gone (`lost`) it hands out nothing,
    and what is put in waits; `rewind` goes back to what the server has, and the rest is handed out
    once more, in the same order.
    """

    def __init__(
        self, kept_samples: int = KEPT_AUDIO_S * SAMPLE_RATE, kept_requests: int = KEPT_REQUESTS
    ) -> None:
        """`kept_samples`, `kept_requests`: how much is there to be handed out again."""
        self.samples = 0
        self.requests = 0
        self._kept_samples = kept_samples
        self._kept_requests = kept_requests
        self._audio: deque[Audio] = deque()
        self._requests: deque[Request] = deque()
        self._waiting: deque[Audio | Request] = deque()
        self._requests_before_loss: int | None = None  # None: connected

    @property
    def full(self) -> bool:
        """Whether no more requests may wait for a connection."""
        before = self._requests_before_loss
        return before is not None and self.requests - before >= self._kept_requests

    def add_audio(self, samples: Int16) -> None:
        """Puts in int16 (n,) at 24 kHz; the caller may use the array again."""
        pcm = memoryview(samples.astype("<i2", copy=False).tobytes())
        for at in range(0, len(pcm), len(_SILENCE)):
            audio = Audio(self.samples, pcm[at : at + len(_SILENCE)])
            self.samples = audio.end
            self._audio.append(audio)
            self._wait(audio)
        while self._audio and self.samples - self._audio[0].end >= self._kept_samples:
            self._audio.popleft()

    def add_request(self, text: str) -> None:
        """Puts in a client event that is not audio."""
        self.requests += 1
        request = Request(self.samples, self.requests, text)
        self._requests.append(request)
        self._wait(request)
        # Any of those sent last may be needed again, however many come while nothing can be sent.
        if self._requests_before_loss is None and len(self._requests) > self._kept_requests:
            self._requests.popleft()

    def next(self) -> Audio | Request | None:
        """What is to be sent now; None if there is nothing."""
        return self._waiting.popleft() if self._waiting else None

    def lost(self) -> None:
        """Nothing can be sent until `rewind`."""
        if self._requests_before_loss is None:
            self._requests_before_loss = self.requests
            self._waiting.clear()

    def rewind(self, requests: int, audio_ms: int) -> None:
        """Goes on after what the server has: `requests` requests, and audio up to `audio_ms`.

        Raises:
            ParleyError: the server claims to have more than was sent, or has less than can be
                sent again.
        """
        if requests > self.requests or audio_ms * SAMPLE_RATE > self.samples * 1000:
            raise ParleyError("the server claims to have more than this client sent")
        if self.requests - requests > len(self._requests):
            raise ParleyError("the server lacks requests that are no longer kept")
        self._waiting = deque(self.again(requests, audio_ms))
        self._requests_before_loss = None
        while len(self._requests) > self._kept_requests:
            self._requests.popleft()

    def again(self, requests: int, audio_ms: int) -> Iterator[Audio | Request]:
        """What a server with `requests` requests and audio up to `audio_ms` lacks, in order.

        Audio that is no longer kept is silence of the same length.
        """
        at = audio_ms * SAMPLE_RATE // 1000
        # Of two at one position the request comes first: audio that went before it ends there.
        kept: Iterator[Audio | Request]
        kept = heapq.merge(self._requests, self._audio, key=lambda entry: entry.position)
        for entry in kept:
            if isinstance(entry, Request) and entry.number <= requests:
                continue
            if isinstance(entry, Audio) and entry.end <= at:
                continue
            for silence in _silence(at, entry.position):
                yield silence
                at = silence.end
            if isinstance(entry, Request):
                yield entry
            else:
                yield entry.after(at)
                at = entry.end

    def _wait(self, entry: Audio | Request) -> None:
        if self._requests_before_loss is None:
            self._waiting.append(entry)


def _silence(start: int, end: int) -> Iterator[Audio]:
    for at in range(start, end, _PIECE):
        yield Audio(at, memoryview(_SILENCE)[: (end - at) * _SAMPLE_BYTES])
