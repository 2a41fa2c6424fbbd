"""The STT stage: turns in, transcripts out.

In: `SttJob`. Out: `transcribed` for the gateway and, in the same step, the response that
answers it, with its `LlmJob`. Turns of different sessions are transcribed in one batch.
"""

import asyncio
from dataclasses import dataclass

from shared.audio import pcm16
from shared.ids import derived_id, now_ms
from shared.jobs import Job, Withdrawn
from shared.keys import SessionKeys
from shared.messages import (
    Item,
    JobMessage,
    LlmJob,
    OutMessage,
    ResponseCreated,
    SessionConfig,
    SttJob,
    Transcribed,
    TranscriptionFailed,
    decode,
)
from shared.scripts.jobs import NewResponse
from shared.worker import Context, JobWorker
from workers.stt.engines import SttEngine, Transcript, Utterance


class Batcher:
    """Transcribes what is waiting together: while one batch is in the engine, the next gathers.

    An utterance that makes a batch fail is found by transcribing each alone, so that it fails
    alone.
    """

    def __init__(self, engine: SttEngine, size: int) -> None:
        self._engine = engine
        self._size = size
        self._waiting: list[tuple[Utterance, asyncio.Future[Transcript]]] = []
        self._task: asyncio.Task[None] | None = None

    async def transcribe(self, utterance: Utterance) -> Transcript:
        """The transcript of one utterance; raises what the engine raised for it."""
        future: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        self._waiting.append((utterance, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="transcription")
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._size]
                del self._waiting[: self._size]
                await self._transcribe(batch)
        finally:
            self._task = None

    async def _transcribe(self, batch: list[tuple[Utterance, asyncio.Future[Transcript]]]) -> None:
        utterances = [utterance for utterance, _ in batch]
        try:
            transcripts = await asyncio.to_thread(self._engine.transcribe, utterances)
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            for alone in batch:
                await self._transcribe([alone])
            return
        for (_, future), transcript in zip(batch, transcripts, strict=True):
            _settle(future, transcript)


def _settle(future: asyncio.Future[Transcript], outcome: Transcript | Exception) -> None:
    if future.done():  # whoever asked was cancelled meanwhile
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@dataclass(slots=True)
class SttStage:
    """Transcribes turns and begins the answers to them.

    Answers are in the language of the turn where the engine knows more than one.
    """

    context: Context
    batcher: Batcher
    slots: int
    multilingual: bool
    name: str = "stt"
    job_type: type[JobMessage] = SttJob
    cancellable: bool = False

    async def handle(self, job: Job) -> None:
        message = job.message
        assert isinstance(message, SttJob)
        marks = {**message.marks, "stt_start": now_ms()}
        utterance = Utterance(pcm16(message.pcm), message.language, message.prompt)
        transcript = await self.batcher.transcribe(utterance)
        marks["stt_end"] = now_ms()
        text = transcript.text.strip()
        item = _waiting(message)
        shown = Transcribed(
            item_id=message.item_id,
            text=text,
            language=transcript.language,
            audio_s=transcript.audio_s,
            content_index=item.pending or 0,
        )
        respond = None
        if message.respond == "always" or (message.respond == "if_words" and text):
            respond = await self._response(job.session, message, marks)
        language = transcript.language if self.multilingual and text else None
        await job.finish_turn([shown], item.transcribed(text, language), respond)

    async def _response(
        self, session: SessionKeys, message: SttJob, marks: dict[str, int]
    ) -> NewResponse | None:
        """The answer to a turn, None in a session that only transcribes."""
        saved = await self.context.pipe.command("HGET", session.state, "config")
        if saved is None:
            raise Withdrawn
        config = decode(saved, SessionConfig)
        if not config.responds:
            return None
        # Transcribed again because the broker fell back by a moment, the turn has the same answer.
        response_id = derived_id("resp", message.item_id)
        item_id = derived_id("item", message.item_id)
        return NewResponse(
            response_id,
            ResponseCreated(
                response_id=response_id,
                item_id=item_id,
                modality=config.modality,
                output_rate=config.output_rate,
            ),
            LlmJob(
                session_id=session.session_id,
                response_id=response_id,
                item_id=item_id,
                output_rate=config.output_rate,
                marks=marks,
            ),
        )

    def failure(self, message: JobMessage, problem: str) -> OutMessage:
        assert isinstance(message, SttJob)
        return TranscriptionFailed(
            item_id=message.item_id,
            message=problem,
            content_index=_waiting(message).pending or 0,
        )


def _waiting(job: SttJob) -> Item:
    """The item that waits for a job's words."""
    return job.item or Item.of(job.item_id, "user", modality="audio", status="in_progress")


def start(engine: SttEngine, context: Context) -> JobWorker:
    """The stage around `engine`, not yet running."""
    size = context.settings.stt_batch
    multilingual = len(engine.languages) != 1
    stage = SttStage(context, Batcher(engine, size), slots=size, multilingual=multilingual)
    return JobWorker(stage, context)
