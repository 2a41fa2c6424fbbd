"""The STT stage: turns in, transcripts out.

In: `SttJob`. Out: `transcribed` for the gateway and, in the same step, the response that
answers it, with its `LlmJob`. Turns of different sessions are transcribed in one batch. A turn
that may be over is transcribed ahead, and the language model told to expect its words.
"""

from dataclasses import dataclass

from shared.audio import pcm16
from shared.ids import derived_id, now_ms
from shared.job import Job, Withdrawn
from shared.keys import SessionKeys
from shared.messages import (
    Hint,
    Item,
    JobMessage,
    LlmHint,
    LlmJob,
    OutMessage,
    ResponseCreated,
    SessionConfig,
    SttHint,
    SttJob,
    Transcribed,
    TranscriptionFailed,
    decode,
    encode,
)
from shared.scripts.jobs import NewResponse
from shared.worker import Context, JobWorker
from workers.stt.batcher import Batcher
from workers.stt.engines import SttEngine, Utterance


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
        transcript = await self.batcher.transcribe(utterance, job.start)
        marks["stt_end"] = now_ms()
        job.marks, job.sizes = marks, {"audio_s": transcript.audio_s}
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

    async def hint(self, hint: Hint) -> None:
        """Transcribes ahead what may be a turn."""
        assert isinstance(hint, SttHint)
        utterance = Utterance(pcm16(hint.pcm), hint.language, hint.prompt)
        transcript = await self.batcher.transcribe_ahead(utterance)
        text = transcript.text.strip() if transcript else ""
        if transcript and text:
            shard = self.context.keyspace.session(hint.session_id).shard
            language = transcript.language if self.multilingual else None
            expected = LlmHint(session_id=hint.session_id, text=text, language=language)
            await self.context.pipe.command("PUBLISH", shard.hints("llm"), encode(expected))

    async def close(self) -> None:
        await self.batcher.close()

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
                trace=message.trace,
            ),
            LlmJob(
                session_id=session.session_id,
                response_id=response_id,
                item_id=item_id,
                output_rate=config.output_rate,
                marks=marks,
                trace=message.trace,
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
    return JobWorker(stage, context, stage if engine.works_ahead else None)
