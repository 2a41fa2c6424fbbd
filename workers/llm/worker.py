"""The LLM stage: transcripts in, speakable segments out.

In: `LlmJob`. Out: `text_delta` and `text_done` for the gateway, and one `TtsJob` for each
segment while the rest is still being written. What was emitted is in the broker, so a worker
that takes a job over goes on from there.
"""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from shared.ids import now_ms
from shared.jobs import Job, Withdrawn
from shared.messages import (
    Item,
    JobMessage,
    LlmJob,
    Marks,
    OutMessage,
    ResponseFailed,
    SessionConfig,
    TextDelta,
    TextDone,
    TtsJob,
    decode,
)
from shared.scripts.jobs import Progress
from shared.worker import Context, JobWorker
from workers.llm.engines import Completion, Delta, LlmEngine, Message, Prompt
from workers.llm.splitter import Piece, Splitter

# Text is shown as it comes, but not in more steps than an eye can follow.
_SHOW_S = 0.04


@dataclass(slots=True)
class _Answer:
    """An answer as it grows: what was emitted and what is waiting to be."""

    job: LlmJob
    config: SessionConfig
    modality: Literal["audio", "text"]
    marks: Marks
    text: str = ""
    segments: int = 0
    splitter: Splitter = field(default_factory=Splitter)
    segment_text: str = ""
    waiting: list[Piece] = field(default_factory=list)
    shown_s: float = 0.0

    def resume(self, text: str) -> None:
        """Takes in what an earlier worker emitted: its segments are on their way already."""
        self.text = text
        self._advance(self.splitter.feed(text))

    def feed(self, text: str) -> None:
        self.waiting += self.splitter.feed(text)

    def flush(self) -> None:
        self.waiting += self.splitter.flush()

    @property
    def due(self) -> bool:
        """Whether what waits should go out now."""
        speakable = any(piece.complete for piece in self.waiting)
        return speakable or (bool(self.waiting) and time.monotonic() - self.shown_s > _SHOW_S)

    def take(self) -> tuple[list[OutMessage], list[TtsJob], Progress]:
        """What waits, as messages, jobs and the progress they make."""
        position = len(self.text.encode())
        pieces, self.waiting = self.waiting, []
        added = "".join(piece.text for piece in pieces)
        shown = self._deltas(pieces)
        complete = self._advance(pieces)
        if complete:
            self.marks.setdefault("llm_first_segment", now_ms())
        spoken = complete if self.modality == "audio" else []
        jobs = [self._speech(segment, text) for segment, text in spoken]
        self.text += added
        self.shown_s = time.monotonic()
        return list(shown), jobs, Progress(position, added, self.segments)

    def _deltas(self, pieces: list[Piece]) -> list[TextDelta]:
        deltas, at = [], len(self.text)
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
            self.segment_text += piece.text
            if piece.complete:
                complete.append((piece.segment, self.segment_text))
                self.segment_text = ""
                self.segments = piece.segment + 1
        return complete

    def _speech(self, segment: int, text: str) -> TtsJob:
        return TtsJob(
            session_id=self.job.session_id,
            response_id=self.job.response_id,
            segment=segment,
            text=text,
            voice=self.config.voice,
            speed=self.config.speed,
            sample_rate=self.job.output_rate,
            marks=dict(self.marks) if segment == 0 else {},
        )


@dataclass(slots=True)
class LlmStage:
    """Answers conversations."""

    context: Context
    engine: LlmEngine
    name: str = "llm"
    job_type: type[JobMessage] = LlmJob
    cancellable: bool = True

    @property
    def slots(self) -> int:
        return self.engine.slots

    async def handle(self, job: Job) -> None:
        message = job.message
        assert isinstance(message, LlmJob)
        answer, prompt = await self._begin(job, message)
        async with aclosing(self.engine.stream(prompt)) as stream:
            completion = await self._follow(job, answer, stream)
        answer.flush()
        shown, jobs, progress = answer.take()
        done = TextDone(
            response_id=message.response_id,
            segments=answer.segments if answer.modality == "audio" else 0,
            finish=completion.finish,
            input_tokens=completion.prompt_tokens,
            output_tokens=completion.completion_tokens,
            marks=answer.marks,
        )
        item = Item(
            item_id=message.item_id,
            role="assistant",
            status="completed" if completion.finish == "stop" else "incomplete",
            text=answer.text,
            modality=answer.modality,
        )
        await job.finish([*shown, done], jobs=jobs, progress=progress, item=item)

    async def _follow(
        self, job: Job, answer: _Answer, stream: AsyncIterator[Delta | Completion]
    ) -> Completion:
        async for step in stream:
            if isinstance(step, Completion):
                return step
            answer.marks.setdefault("llm_first_token", now_ms())
            answer.feed(step.text)
            if answer.due:
                shown, jobs, progress = answer.take()
                await job.emit(shown, jobs=jobs, progress=progress)
        raise RuntimeError("the language model's stream ended without a completion")

    async def _begin(self, job: Job, message: LlmJob) -> tuple[_Answer, Prompt]:
        pipe, session = self.context.pipe, job.session
        saved = await pipe.command("HGET", session.state, "config")
        so_far = await pipe.command("HGET", session.response(message.response_id), "text")
        if saved is None or so_far is None:
            raise Withdrawn
        config = decode(saved, SessionConfig)
        modality = message.modality or config.modality
        marks = {**message.marks, "llm_start": now_ms()}
        answer = _Answer(message, config, modality, marks)
        answer.resume(so_far.decode())
        longest = self.context.settings.llm_max_tokens
        wanted = message.max_output_tokens or config.max_output_tokens or longest
        prompt = Prompt(
            messages=[*self._instructions(message, config), *await self._history(job, message)],
            prefix=answer.text,
            max_tokens=min(wanted, longest),
            temperature=None,
        )
        return answer, prompt

    def _instructions(self, message: LlmJob, config: SessionConfig) -> list[Message]:
        """The response's own, else the session's, else the server's; "" is none at all."""
        given = (message.instructions, config.instructions, self.context.settings.instructions)
        text = next(text for text in given if text is not None)
        return [Message("system", text)] if text else []

    async def _history(self, job: Job, message: LlmJob) -> list[Message]:
        """The conversation before the answer, oldest first."""
        pipe, session = self.context.pipe, job.session
        ids = await pipe.command("LRANGE", session.order, 0, -1)
        answer = message.item_id.encode()
        ids = ids[: ids.index(answer)] if answer in ids else ids
        if not ids:
            return []
        saved = await pipe.command("HMGET", session.items, *ids)
        items = [decode(data, Item) for data in saved if data is not None]
        return [Message(item.role, item.text) for item in items if item.text]

    def failure(self, message: JobMessage, problem: str) -> OutMessage:
        assert isinstance(message, LlmJob)
        return ResponseFailed(response_id=message.response_id, message=problem)


def start(engine: LlmEngine, context: Context) -> JobWorker:
    """The stage around `engine`, not yet running."""
    return JobWorker(LlmStage(context, engine), context)
