"""The TTS stage: speakable segments in, audio out.

In: `TtsJob`. Out: `audio_chunk` for the gateway, as the engine makes them, already at the
session's output rate, with a voice that speaks the text's language. A worker that takes a job over
synthesises its segment again; the gateway drops the samples it already has. A segment with which an
answer will probably begin is spoken ahead. Segments take turns in the engine, so that a long one
keeps none waiting.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass

from shared.ahead import Ahead
from shared.audio import Int16
from shared.ids import now_ms
from shared.job import Job
from shared.messages import (
    AudioChunk,
    Hint,
    JobMessage,
    OutMessage,
    ResponseFailed,
    TtsHint,
    TtsJob,
)
from shared.metrics.work import MeasuredAhead
from shared.worker import Context, JobWorker
from workers.tts.engines import Speech, TtsEngine
from workers.tts.speakable import speakable
from workers.tts.turns import Segment, Turns
from workers.tts.voices import NoVoice, choose

# Jobs for each slot. A short segment must not wait behind long ones for a slot; but what one worker
# has in its hands another one cannot take.
_JOBS_A_SLOT = 4


@dataclass(slots=True)
class TtsStage:
    """Speaks segments."""

    context: Context
    engine: TtsEngine
    slots: int
    ahead: Ahead[Speech, Int16]
    turns: Turns
    name: str = "tts"
    job_type: type[JobMessage] = TtsJob
    cancellable: bool = True

    async def handle(self, job: Job) -> None:
        message = job.message
        assert isinstance(message, TtsJob)
        marks = dict(message.marks)
        offset = 0

        def started() -> None:
            # What follows an answer's first segment is not due before that was heard.
            job.start(awaited=message.segment == 0)
            if marks:
                marks.setdefault("tts_start", now_ms())

        try:
            async with self._asked(message, started) as chunks:
                async for chunk in chunks:
                    started()  # when it was begun ahead
                    if marks:
                        marks.setdefault("tts_first_chunk", now_ms())
                    await job.emit([_chunk(message, offset, chunk, marks.copy())])
                    offset += len(chunk)
                    job.marks |= marks
                    marks.clear()
        except NoVoice as error:  # which another attempt would not help
            await job.finish([self.failure(message, str(error))])
            return
        started()  # where there was nothing to say
        job.sizes = {"audio_s": offset / message.sample_rate}
        await job.finish([_chunk(message, offset, None, marks)])

    async def hint(self, hint: Hint) -> None:
        """Speaks ahead what may be a segment."""
        assert isinstance(hint, TtsHint)
        speech = self._speech(hint)
        if speech.text:
            segment = Segment(hint.session_id)
            self.ahead.begin(speech, lambda: self._spoken(speech, segment, _nobody))

    async def close(self) -> None:
        await self.ahead.close()

    def _asked(
        self, message: TtsJob, started: Callable[[], None]
    ) -> AbstractAsyncContextManager[AsyncIterator[Int16]]:
        speech = self._speech(message)
        segment = Segment(message.session_id, waited_for=message.segment == 0)
        return self.ahead.asked(speech, lambda: self._spoken(speech, segment, started))

    def _speech(self, message: TtsJob | TtsHint) -> Speech:
        wanted = message.voice or self.context.settings.tts_voice
        voice = choose(self.engine.voices, wanted, message.language)
        text = speakable(message.text)
        return Speech(text, voice, message.speed, message.sample_rate, message.language)

    async def _spoken(
        self, speech: Speech, segment: Segment, started: Callable[[], None]
    ) -> AsyncGenerator[Int16, None]:
        if not speech.text:
            return
        steps = in_turns(self.engine.synthesize(speech), self.turns, segment, started)
        async with aclosing(steps) as chunks:
            async for chunk in chunks:
                yield chunk

    def failure(self, message: JobMessage, problem: str) -> OutMessage:
        assert isinstance(message, TtsJob)
        return ResponseFailed(response_id=message.response_id, message=problem)


def _chunk(
    message: TtsJob, offset: int, samples: Int16 | None, marks: dict[str, int]
) -> AudioChunk:
    return AudioChunk(
        response_id=message.response_id,
        segment=message.segment,
        offset=offset,
        pcm=b"" if samples is None else samples.tobytes(),
        final=samples is None,
        marks=marks,
    )


def _nobody() -> None:
    """Nobody wants to know when a hint's speech starts."""


async def in_turns(
    chunks: Iterator[Int16], turns: Turns, segment: Segment, started: Callable[[], None] = _nobody
) -> AsyncGenerator[Int16, None]:
    """Iterates a blocking generator in a thread, with a turn for each step; `started` is called in
    every turn. Closing it stops the generator between steps."""
    try:
        while True:
            async with turns.turn(segment):
                started()
                chunk = await _next(chunks)
            if chunk is None:
                return
            yield chunk
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


async def _next(chunks: Iterator[Int16]) -> Int16 | None:
    """The next chunk; when cancelled, the step is waited for all the same."""
    step = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
    try:
        return await asyncio.shield(step)
    finally:
        if not step.done():
            await asyncio.wait([step])


def start(engine: TtsEngine, context: Context) -> JobWorker:
    """The stage around `engine`, not yet running."""
    slots = context.settings.tts_slots
    ahead = Ahead[Speech, Int16](slots, MeasuredAhead("tts"))
    stage = TtsStage(context, engine, slots, ahead, Turns(slots))
    foresight = stage if engine.works_ahead else None
    return JobWorker(stage, context, foresight, jobs_a_slot=_JOBS_A_SLOT)
