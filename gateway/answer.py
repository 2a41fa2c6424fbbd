"""One response on its way to the client: its text, its audio, how it ended. No I/O."""

import math
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from gateway.playout import Playout, PlayoutError
from shared.audio import Int16
from shared.ids import now_ms
from shared.messages import AudioChunk, Item, Marks, Part, ResponseCreated, TextDelta, TextDone

Status = Literal["completed", "incomplete", "cancelled", "failed"]


@dataclass(slots=True)
class Answer:
    """What has come of a response so far.

    `texts` holds each segment's text; `marks` when the turn reached each stage. `sample_rate` is
    its audio's, in Hz. `aside` says that it is no part of the conversation. `cut_at_ms` is where
    the client says it stopped playing, if it said so. `began_ms` is when this gateway heard of it.
    """

    response_id: str
    item_id: str
    modality: Literal["audio", "text"]
    sample_rate: int
    playout: Playout
    aside: bool = False
    texts: dict[int, str] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    done: TextDone | None = None
    cut_at_ms: int | None = None
    trace: str = ""
    began_ms: int = field(default_factory=now_ms)
    _characters: int = 0

    @classmethod
    def begun(cls, created: ResponseCreated, lead_s: float) -> "Answer":
        rate = created.output_rate
        return cls(
            created.response_id,
            created.item_id,
            created.modality,
            rate,
            Playout(rate, lead_s),
            aside=created.aside,
            trace=created.trace,
        )

    @property
    def finished(self) -> bool:
        """Whether all of it has gone out."""
        if self.done is None:
            return False
        return self.modality == "text" or self.playout.finished

    @property
    def sent_ms(self) -> int:
        """How much of its audio has gone out, in milliseconds begun."""
        return math.ceil(self.playout.sent_samples * 1000 / self.sample_rate)

    @property
    def natural_end(self) -> Status:
        """How it ends if nobody cuts it off."""
        return "completed" if self.done is None or self.done.finish == "stop" else "incomplete"

    def add(self, message: TextDelta | TextDone | AudioChunk) -> TextDelta | TextDone | None:
        """Takes in what a worker emitted, and drops what came before: a broker that fell back by
        a moment has its work done again. Returns the text, or its end, that is new.

        Raises:
            PlayoutError: text or audio is missing.
            AudioError: bytes that are not PCM16.
        """
        if isinstance(message, TextDelta):
            return self._add_text(message)
        self.marks.update(message.marks)
        if isinstance(message, AudioChunk):
            self.playout.add(message.segment, message.offset, message.pcm, message.final)
            return None
        if self.done is not None:
            return None
        self.done = message
        if self.modality == "audio":
            self.playout.end(message.segments)
        return message

    def due(self, now_s: float) -> list[tuple[Int16, int]]:
        """The audio to send now, in pieces: each with how many samples went out with it."""
        sent = self.playout.sent_samples
        audio = []
        for piece in self.playout.take(now_s):
            sent += len(piece.samples)
            audio.append((piece.samples, sent))
        return audio

    def unheard_s(self, now_s: float) -> float:
        """How long the client still plays what was sent."""
        return (self.playout.sent_samples - self.playout.heard_samples(now_s)) / self.sample_rate

    def _add_text(self, delta: TextDelta) -> TextDelta | None:
        known = self._characters - delta.at
        if known < 0:
            raise PlayoutError(f"text must go on at {self._characters}, not at {delta.at}")
        fresh = delta.text[known:]
        if not fresh:
            return None
        self.texts[delta.segment] = self.texts.get(delta.segment, "") + fresh
        self._characters += len(fresh)
        return msgspec.structs.replace(delta, at=self._characters - len(fresh), text=fresh)

    def whole(self) -> str:
        """Its words, as far as the client played them if it said so."""
        if self.cut_at_ms is not None:
            samples = self.cut_at_ms * self.sample_rate // 1000
            return self.playout.text_until(samples, self.texts)
        return "".join(self.texts[segment] for segment in sorted(self.texts))

    def heard(self, now_s: float) -> str:
        """The words that have reached the client."""
        if self.modality == "text" or self.cut_at_ms is not None:
            return self.whole()
        return self.playout.heard_text(now_s, self.texts)

    def item(self, status: Status, text: str) -> Item:
        """The conversation's record of it."""
        return Item(
            item_id=self.item_id,
            role="assistant",
            status="completed" if status == "completed" else "incomplete",
            parts=[Part(modality=self.modality, text=text)],
            audio_ms=self.sent_ms if self.modality == "audio" else 0,
        )
