"""The LLM stage: transcripts in, speakable segments and function calls out.

In: `LlmJob`. Out: `text_delta` and `text_done` for the gateway, and one `TtsJob` for each
segment while the rest is still being written. What was emitted is in the broker, so a worker
that takes a job over goes on from there. Calls come with the end of the answer, all at once: work
that is done again calls nothing twice. An answer that will probably be asked for is begun ahead.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.ahead import Ahead
from shared.ids import now_ms
from shared.job import Job, Withdrawn
from shared.messages import (
    JobMessage,
    LlmJob,
    OutMessage,
    ResponseFailed,
    SessionConfig,
    decode,
)
from shared.metrics.work import BATCH, TOKENS, MeasuredAhead
from shared.worker import Context, JobWorker
from workers.llm import engines
from workers.llm.answer import Answer
from workers.llm.engines import Completion, Delta, LlmEngine, Prompt, PromptError
from workers.llm.foresight import Foresight
from workers.llm.prompting import conversation, language_of, prompt_for

_TOGETHER = BATCH.labels("llm")
_PROMPT, _CACHED, _GENERATED = map(TOKENS.labels, ("prompt", "cached", "generated"))


@dataclass(slots=True)
class LlmStage:
    """Answers conversations."""

    context: Context
    engine: LlmEngine
    ahead: Ahead[str, engines.Step]
    name: str = "llm"
    job_type: type[JobMessage] = LlmJob
    cancellable: bool = True

    @property
    def slots(self) -> int:
        return self.engine.slots

    async def handle(self, job: Job) -> None:
        message = job.message
        assert isinstance(message, LlmJob)
        job.start()
        answer, prompt = await self._begin(job, message)
        job.marks = answer.marks
        try:
            async with self.ahead.asked(
                repr(prompt), lambda: self.engine.stream(prompt), message.session_id
            ) as stream:
                _TOGETHER.observe(self.ahead.read_now)
                completion = await self._follow(job, answer, stream)
        except PromptError as error:  # which another attempt would not help
            await job.finish([self.failure(message, str(error))])
            return
        job.sizes = _count(completion)
        last = answer.end(completion)
        await job.finish(
            last.messages,
            jobs=last.jobs,
            progress=last.progress,
            begins=last.begins,
            item=last.item,
        )

    async def _follow(
        self, job: Job, answer: Answer, stream: AsyncIterator[engines.Step]
    ) -> Completion:
        async for step in stream:
            answer.marks.setdefault("llm_first_token", now_ms())
            if isinstance(step, Completion):
                return step
            if isinstance(step, Delta):
                answer.feed(step.text)
            else:
                answer.calls.append(step)
            if answer.due:
                out = answer.take()
                await job.emit(
                    out.messages, jobs=out.jobs, progress=out.progress, begins=out.begins
                )
        raise RuntimeError("the language model's stream ended without a completion")

    async def _begin(self, job: Job, message: LlmJob) -> tuple[Answer, Prompt]:
        pipe, session = self.context.pipe, job.session
        response = session.response(message.response_id)
        saved, (so_far, after) = await asyncio.gather(
            pipe.command("HGET", session.state, "config"),
            pipe.command("HMGET", response, "text", "after"),
        )
        if saved is None or so_far is None:
            raise Withdrawn
        config = decode(saved, SessionConfig)
        items = await conversation(pipe, session, message, (after or b"").decode())
        language = language_of(config, items)
        answer = Answer(
            message,
            message.modality or config.modality,
            config.voice if message.voice is None else message.voice,
            config.speed,
            language,
            {**message.marks, "llm_start": now_ms()},
        )
        text = so_far.decode()
        answer.resume(text)
        return answer, prompt_for(message, config, self.context.settings, items, text, language)

    def failure(self, message: JobMessage, problem: str) -> OutMessage:
        assert isinstance(message, LlmJob)
        return ResponseFailed(response_id=message.response_id, message=problem)


def _count(completion: Completion) -> dict[str, float]:
    """Counts an answer's tokens, and returns them for its trace."""
    _PROMPT.inc(max(completion.prompt_tokens - completion.cached_tokens, 0))
    _CACHED.inc(completion.cached_tokens)
    _GENERATED.inc(completion.completion_tokens)
    return {
        "input_tokens": completion.prompt_tokens,
        "cached_tokens": completion.cached_tokens,
        "output_tokens": completion.completion_tokens,
    }


def start(engine: LlmEngine, context: Context) -> JobWorker:
    """The stage around `engine`, not yet running."""
    ahead = Ahead[str, engines.Step](engine.slots, MeasuredAhead("llm"))
    foresight = Foresight(context, engine, ahead) if engine.works_ahead else None
    return JobWorker(LlmStage(context, engine, ahead), context, foresight)
