"""An answer as it grows: what was emitted and what is waiting to be."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.ids import derived_id, now_ms
from shared.messages import (
    AnyItem,
    FunctionCall,
    Item,
    ItemStatus,
    LlmJob,
    Marks,
    Modality,
    OutMessage,
    TextDelta,
    TextDone,
    TtsJob,
)
from shared.scripts.jobs import Progress
from workers.llm.engines import Call, Completion
from workers.llm.splitter import Piece, Splitter

# Text is shown as it comes, but not in more steps than an eye can follow.
_SHOW_S = 0.04


@dataclass(frozen=True, slots=True)
class Step:
    """What goes out at once: messages, jobs, the progress they make, items that begin and the item
    that takes the place of its earlier version."""

    messages: Sequence[OutMessage]
    jobs: Sequence[TtsJob]
    progress: Progress
    begins: Sequence[AnyItem] = ()
    item: Item | None = None


@dataclass(slots=True)
class Answer:
    """An answer as it grows. Its words are one item, which begins with the first of them; the
    functions it calls are items of their own, whole from the beginning."""

    job: LlmJob
    modality: Modality
    voice: str | None
    speed: float
    language: str | None
    marks: Marks
    calls: list[Call] = field(default_factory=list)
    _text: str = ""
    _segments: int = 0
    _splitter: Splitter = field(default_factory=Splitter)
    _segment_text: str = ""
    _waiting: list[Piece] = field(default_factory=list)
    _shown_s: float = 0.0

    def resume(self, text: str) -> None:
        """Takes in what an earlier worker emitted: its segments are on their way already."""
        self._text = text
        self._advance(self._splitter.feed(text))

    def feed(self, text: str) -> None:
        self._waiting += self._splitter.feed(text)

    @property
    def due(self) -> bool:
        """Whether what waits should go out now."""
        speakable = any(piece.complete for piece in self._waiting)
        return speakable or (bool(self._waiting) and time.monotonic() - self._shown_s > _SHOW_S)

    def take(self) -> Step:
        """What waits."""
        begins = not self._text and not self.job.aside
        messages, jobs, progress = self._take()
        return Step(messages, jobs, progress, [self._item("in_progress")] if begins else [])

    def end(self, completion: Completion) -> Step:
        """What waits at the end of the answer, and what it was in all."""
        begun = bool(self._text)
        self._waiting += self._splitter.flush()
        messages, jobs, progress = self._take()
        calls = self._called()
        done = TextDone(
            response_id=self.job.response_id,
            segments=self._segments if self.modality == "audio" else 0,
            finish=completion.finish,
            input_tokens=completion.prompt_tokens,
            output_tokens=completion.completion_tokens,
            cached_tokens=completion.cached_tokens,
            marks=self.marks,
            calls=calls,
        )
        if self.job.aside:
            return Step([*messages, done], jobs, progress)
        cut = completion.finish == "length" and not calls
        item = self._item("incomplete" if cut else "completed") if self._text else None
        begins: list[AnyItem] = [*([item] if item and not begun else []), *calls]
        return Step([*messages, done], jobs, progress, begins, item if begun else None)

    def _item(self, status: ItemStatus) -> Item:
        text = self._text if status != "in_progress" else None
        return Item.of(self.job.item_id, "assistant", text, modality=self.modality, status=status)

    def _called(self) -> list[FunctionCall]:
        """The calls, with ids that an answer which is generated again gives them again."""
        return [
            FunctionCall(
                item_id=derived_id("item", f"{self.job.response_id} {index}"),
                call_id=derived_id("call", f"{self.job.response_id} {index}"),
                name=call.name,
                arguments=call.arguments,
                status="completed" if call.complete else "incomplete",
            )
            for index, call in enumerate(self.calls)
        ]

    def _take(self) -> tuple[list[OutMessage], list[TtsJob], Progress]:
        position = len(self._text.encode())
        pieces, self._waiting = self._waiting, []
        added = "".join(piece.text for piece in pieces)
        shown: list[OutMessage] = [*self._deltas(pieces)]
        complete = self._advance(pieces)
        if complete:
            self.marks.setdefault("llm_first_segment", now_ms())
        spoken = complete if self.modality == "audio" else []
        jobs = [self._speech(segment, text) for segment, text in spoken]
        self._text += added
        self._shown_s = time.monotonic()
        return shown, jobs, Progress(position, added, self._segments)

    def _deltas(self, pieces: list[Piece]) -> list[TextDelta]:
        deltas, at = [], len(self._text)
        for piece in pieces:
            if piece.text:
                deltas.append(
                    TextDelta(
                        response_id=self.job.response_id,
                        segment=piece.segment,
                        at=at,
                        text=piece.text,
                    )
                )
            at += len(piece.text)
        return deltas

    def _advance(self, pieces: list[Piece]) -> list[tuple[int, str]]:
        complete = []
        for piece in pieces:
            self._segment_text += piece.text
            if piece.complete:
                complete.append((piece.segment, self._segment_text))
                self._segment_text = ""
                self._segments = piece.segment + 1
        return complete

    def _speech(self, segment: int, text: str) -> TtsJob:
        return TtsJob(
            session_id=self.job.session_id,
            response_id=self.job.response_id,
            segment=segment,
            text=text,
            voice=self.voice,
            speed=self.speed,
            sample_rate=self.job.output_rate,
            language=self.language,
            marks=dict(self.marks) if segment == 0 else {},
            trace=self.job.trace,
        )
