"""The playout of one response: its segments in order, on time, and what was heard of them.

Pure: no I/O, and whoever calls brings the time, in seconds of any clock that does not go back.

Copies of audio: `add` keeps a view of the bytes it is given, `take` hands out views of those,
`pull` copies each sample once, into the array it returns.
"""

import math
import re
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from shared.audio import Int16, pcm16

STEP_S = 0.1
"""How much must fit under the lead before it is worth calling `take` again."""

CHARACTERS_PER_S = 15
"""Speaking rate assumed for a segment whose end is not synthesised yet."""

# Scripts without spaces (Chinese, Japanese) may be cut after any character.
_WORD = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]|[^\s\u2e80-\u9fff\uff00-\uffef]+")


class PlayoutError(ValueError):
    """Audio that does not fit what was added before; the message says what was expected."""


@dataclass(frozen=True)
class Piece:
    """Audio to send now: int16 (n,) of one segment, from the segment's sample `offset` on."""

    segment: int
    offset: int
    samples: Int16


@dataclass
class _Segment:
    chunks: deque[Int16] = field(default_factory=deque)
    held: int = 0  # samples that came
    taken: int = 0  # samples of those that went out
    final: bool = False

    def pop(self, most: int) -> Int16:
        """The next at most `most` samples; there must be some."""
        chunk = self.chunks.popleft()
        if len(chunk) > most:
            self.chunks.appendleft(chunk[most:])
            chunk = chunk[:most]
        self.taken += len(chunk)
        return chunk


class Playout:
    """One response's audio on its way to one client.

    Segments may come in any order, and again: a TTS worker that takes over synthesises its
    segment from the start, and the samples already held are dropped by their offset. Within a
    segment chunks come in order, so a gap means that audio was lost, and is an error rather
    than a silence.

    Use either `take`, which keeps the pace for a client that plays what it gets, or `pull`, for
    a client that sets the pace itself.
    """

    def __init__(self, sample_rate: int, lead_s: float = 1.0) -> None:
        """`sample_rate` in Hz. `lead_s`: how far ahead of the client's playing to send."""
        self._rate = sample_rate
        self._lead = int(lead_s * sample_rate)
        self._step = max(1, min(int(STEP_S * sample_rate), self._lead))
        self._segments: dict[int, _Segment] = {}
        self._count: int | None = None
        self._current = 0  # the segment that is going out
        self._sent = 0
        self._dry = False
        # When the client would have begun, had it played everything sent without a pause.
        self._origin: float | None = None
        self.underruns = 0
        """How often the client had played everything and there was more to come."""

    def add(self, segment: int, offset: int, pcm: bytes | Int16, final: bool = False) -> None:
        """Hold audio of `segment` from its sample `offset` on; `final` ends the segment.

        Raises:
            PlayoutError: a gap before `offset`, or a segment the response does not have.
            AudioError: bytes that are not PCM16.
        """
        if self._count is not None and segment >= self._count:
            raise PlayoutError(f"segment must be less than {self._count}, not {segment}")
        held = self._segments.setdefault(segment, _Segment())
        if held.final:
            return
        if offset > held.held:
            raise PlayoutError(
                f"offset of segment {segment} must be at most {held.held}, not {offset}"
            )
        samples = pcm16(pcm) if isinstance(pcm, bytes) else pcm
        fresh = samples[held.held - offset :]
        if len(fresh):
            held.chunks.append(fresh)
            held.held += len(fresh)
        held.final = final

    def end(self, segments: int) -> None:
        """Say how many segments the response has in all.

        Raises:
            PlayoutError: fewer than were added, or another number than before.
        """
        least = max(self._segments, default=-1) + 1
        if segments < least or self._count not in (None, segments):
            expected = f"at least {least}" if self._count is None else f"{self._count}, as before"
            raise PlayoutError(f"segments must be {expected}, not {segments}")
        self._count = segments

    @property
    def finished(self) -> bool:
        """Whether all of the response's audio came and went out."""
        self._advance()
        return self._current == self._count

    @property
    def sent_samples(self) -> int:
        """Samples that went out so far."""
        return self._sent

    def take(self, now: float) -> list[Piece]:
        """What the client may have now, in order: never more than the lead ahead of its playing.

        The first call that finds audio starts the clock; a call that finds the client dry moves
        the clock's origin forward, as if the pause had not been.
        """
        room = self._room(now)
        pieces = []
        while room > 0 and (segment := self._playable()) is not None:
            if self._origin is None or self._played(now) > self._sent:
                self.underruns += self._origin is not None
                self._origin = now - self._sent / self._rate
            offset = segment.taken
            samples = segment.pop(room)
            pieces.append(Piece(self._current, offset, samples))
            self._sent += len(samples)
            room -= len(samples)
        return pieces

    def skip(self, samples: int) -> None:
        """Lets go of what the client has already: the first `samples` in order, all of them held.

        The client is taken to have played them.
        """
        while samples and (segment := self._playable()) is not None:
            skipped = len(segment.pop(samples))
            self._sent += skipped
            samples -= skipped

    def next_at(self, now: float) -> float | None:
        """When `take` will have something worth sending; None: not before more is added."""
        worth = min(self._waiting(self._step), self._step)
        if not worth:
            return None
        if self._origin is None or self._room(now) >= worth:
            return now
        # Half a sample more, so that rounding cannot make the caller come a sample early.
        return self._origin + (self._sent + worth - self._lead + 0.5) / self._rate

    def pull(self, samples: int) -> Int16:
        """The next `samples` samples, int16: fewer, even none, only once the response is over.

        Until then it is all or nothing: an empty array says that they are not there yet.
        """
        parts: list[Int16] = [np.empty(0, np.int16)]
        before, self._dry = self._dry, self._waiting(samples) < samples and not self._complete()
        self.underruns += self._dry and not before and self._sent > 0
        if not self._dry:
            while samples and (segment := self._playable()) is not None:
                parts.append(segment.pop(samples))
                samples -= len(parts[-1])
                self._sent += len(parts[-1])
        return np.concatenate(parts)

    def heard_samples(self, now: float) -> int:
        """How many samples the client can have played: those pulled, or those due by now."""
        return self._sent if self._origin is None else min(self._sent, int(self._played(now)))

    def heard_text(self, now: float, texts: dict[int, str]) -> str:
        """The words the client can have heard. `texts`: every segment's, as in the answer."""
        return self.text_until(self.heard_samples(now), texts)

    def text_until(self, samples: int, texts: dict[int, str]) -> str:
        """The words spoken in the response's first `samples` samples.

        The segment in which they end is cut in proportion, at the end of a word. A segment still
        being synthesised counts as long as its text suggests, or as what is held of it, if more.
        """
        heard = ""
        for number in sorted(texts):
            segment = self._segments.get(number, _Segment())
            text = texts[number]
            length = segment.held
            if not segment.final:
                length = max(length, math.ceil(len(text) / CHARACTERS_PER_S * self._rate))
            if samples < length:
                return (heard + words_until(text, len(text) * samples // length)).strip()
            heard += text
            samples -= length
        return heard.strip()

    def _played(self, now: float) -> float:
        """Samples the client would have played by now if it never ran dry."""
        return 0.0 if self._origin is None else (now - self._origin) * self._rate

    def _room(self, now: float) -> int:
        """Samples that may go out now without exceeding the lead."""
        return self._lead - (self._sent - self.heard_samples(now))

    def _advance(self) -> None:
        """Go past segments that have nothing left to give."""
        while (segment := self._segments.get(self._current)) is not None:
            if not segment.final or segment.chunks:
                return
            self._current += 1

    def _playable(self) -> _Segment | None:
        """The segment whose turn it is, if it holds anything."""
        self._advance()
        segment = self._segments.get(self._current)
        return segment if segment is not None and segment.chunks else None

    def _waiting(self, enough: int) -> int:
        """Samples that could go out in order now, counted no further than `enough`."""
        waiting, number = 0, self._current
        while waiting < enough and (segment := self._segments.get(number)) is not None:
            waiting += segment.held - segment.taken
            if not segment.final:
                break
            number += 1
        return waiting

    def _complete(self) -> bool:
        """Whether all of the response's audio came."""
        return self._count is not None and all(
            (segment := self._segments.get(number)) is not None and segment.final
            for number in range(self._current, self._count)
        )


def words_until(text: str, characters: int) -> str:
    """`text` up to the end of the last word that lies within its first `characters`."""
    end = 0
    for word in _WORD.finditer(text):
        if word.end() > characters:
            break
        end = word.end()
    return text[:end]
