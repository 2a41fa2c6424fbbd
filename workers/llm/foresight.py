"""What an LLM worker does before it is asked.

Answers to turns that may be over are begun while it is still uncertain, and their first words
spoken. What a session brings of its own, instructions above all, is read when it is told, so that
its first answer is as fast as its second.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from shared.ahead import Ahead
from shared.keys import SessionKeys
from shared.messages import (
    AnyItem,
    Hint,
    Item,
    LlmHint,
    LlmJob,
    SessionConfig,
    TtsHint,
    TtsJob,
    decode,
    encode,
)
from shared.worker import Context
from workers.llm.answer import Answer
from workers.llm.engines import Completion, Delta, LlmEngine, Prompt, Step
from workers.llm.prompting import history, language_of, prompt_for


@dataclass(slots=True)
class Foresight:
    """Begins answers for `ahead`, whose jobs will come with the same prompt if nothing more is
    said."""

    context: Context
    engine: LlmEngine
    ahead: Ahead[str, Step]
    _being_read: set[str] = field(default_factory=set)

    async def hint(self, hint: Hint) -> None:
        """Reads the conversation, or begins the answer to what its user has probably said."""
        assert isinstance(hint, LlmHint)
        session = self.context.keyspace.session(hint.session_id)
        saved = await self.context.pipe.command("HGET", session.state, "config")
        config = decode(saved, SessionConfig) if saved is not None else None
        if config is None or not config.responds:
            return
        items = [*await history(self.context.pipe, session)]
        if hint.text is None:
            usual = config.instructions == self.context.settings.instructions
            if not usual or config.tooling.tools or items:  # what is usual was read at the start
                await self._read(self._expected(session, config, items)[0])
        elif config.turn_detection is not None and config.turn_detection.create_response:
            said = Item.of("", "user").transcribed(hint.text, hint.language)
            prompt, answer = self._expected(session, config, [*items, said])
            self.ahead.begin(
                repr(prompt), lambda: self._begun(session, prompt, answer), session.session_id
            )

    async def close(self) -> None:
        await self.ahead.close()

    async def _read(self, prompt: Prompt) -> None:
        read, key = self.engine.read_ahead, repr(prompt)
        if read is None or not prompt.messages or key in self._being_read:
            return
        self._being_read.add(key)
        try:
            await self.ahead.spend(lambda: read(prompt))
        finally:
            self._being_read.discard(key)

    def _expected(
        self, session: SessionKeys, config: SessionConfig, items: Sequence[AnyItem]
    ) -> tuple[Prompt, Answer]:
        """What the session's next job will be asked if it asks for nothing special, and what its
        answer grows in."""
        language = language_of(config, items)
        job = LlmJob(
            session_id=session.session_id,
            response_id="",
            item_id="",
            output_rate=config.output_rate,
        )
        answer = Answer(job, config.modality, config.voice, config.speed, language, {})
        return prompt_for(job, config, self.context.settings, items, "", language), answer

    async def _begun(
        self, session: SessionKeys, prompt: Prompt, answer: Answer
    ) -> AsyncGenerator[Step, None]:
        """The answer to `prompt`; its first segment is given to be spoken ahead, too."""
        told = False
        async with aclosing(self.engine.stream(prompt)) as steps:
            async for step in steps:
                if not told and (segments := _speech(answer, step)):
                    told = True
                    await self._tell(session, segments[0])
                yield step

    async def _tell(self, session: SessionKeys, segment: TtsJob) -> None:
        hint = TtsHint(
            session_id=segment.session_id,
            text=segment.text,
            voice=segment.voice,
            speed=segment.speed,
            sample_rate=segment.sample_rate,
            language=segment.language,
        )
        await self.context.pipe.command("PUBLISH", session.shard.hints("tts"), encode(hint))


def _speech(answer: Answer, step: Step) -> list[TtsJob]:
    """The segments that are to be spoken after this step of the answer."""
    if isinstance(step, Delta):
        answer.feed(step.text)
        return [*answer.take().jobs]
    return [*answer.end(step).jobs] if isinstance(step, Completion) else []
