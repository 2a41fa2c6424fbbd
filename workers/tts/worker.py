"""The TTS stage: speakable segments in, audio out.

In: `TtsJob`. Out: `audio_chunk` for the gateway, as the engine makes them, already at the
session's output rate, with a voice that speaks the text's language. A worker that takes a job over
synthesises its segment again; the gateway drops the samples it already has.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from shared.audio import Int16
from shared.ids import now_ms
from shared.jobs import Job
from shared.messages import AudioChunk, JobMessage, OutMessage, ResponseFailed, TtsJob
from shared.worker import Context, JobWorker
from workers.tts.engines import Speech, TtsEngine
from workers.tts.speakable import speakable
from workers.tts.voices import NoVoice, choose


@dataclass(slots=True)
class TtsStage:
    """Speaks segments."""

    context: Context
    engine: TtsEngine
    slots: int
    name: str = "tts"
    job_type: type[JobMessage] = TtsJob
    cancellable: bool = True

    async def handle(self, job: Job) -> None:
        message = job.message
        assert isinstance(message, TtsJob)
        marks = {**message.marks, "tts_start": now_ms()} if message.marks else {}
        offset = 0
        try:
            async with aclosing(self._speak(message)) as chunks:
                async for chunk in chunks:
                    if marks:
                        marks.setdefault("tts_first_chunk", now_ms())
                    await job.emit([_chunk(message, offset, chunk, marks)])
                    offset += len(chunk)
                    marks = {}
        except NoVoice as error:  # which another attempt would not help
            await job.finish([self.failure(message, str(error))])
            return
        await job.finish([_chunk(message, offset, None, marks)])

    async def _speak(self, message: TtsJob) -> AsyncGenerator[Int16, None]:
        text = speakable(message.text)
        if not text:
            return
        wanted = message.voice or self.context.settings.tts_voice
        voice = choose(self.engine.voices, wanted, message.language)
        speech = Speech(text, voice, message.speed, message.sample_rate, message.language)
        async with aclosing(in_thread(self.engine.synthesize(speech))) as chunks:
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


async def in_thread(chunks: Iterator[Int16]) -> AsyncGenerator[Int16, None]:
    """Iterates a blocking generator in a thread; closing it stops the generator between steps."""
    step: asyncio.Future[Int16 | None] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
            chunk = await asyncio.shield(step)
            if chunk is None:
                return
            yield chunk
    finally:
        if step is not None and not step.done():
            await asyncio.wait([step])
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def start(engine: TtsEngine, context: Context) -> JobWorker:
    """The stage around `engine`, not yet running."""
    return JobWorker(TtsStage(context, engine, slots=context.settings.tts_slots), context)
