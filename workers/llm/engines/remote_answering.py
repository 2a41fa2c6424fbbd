"""One conversation with a server: its requests, in whatever way the server understands."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import msgspec
from openai import AsyncOpenAI, AsyncStream

from shared.messages import Tool
from shared.remote import RemoteError, Server
from workers.llm.engines import Call, Completion, Delta, Message, Prompt, PromptError, Step
from workers.llm.engines.forced import validator
from workers.llm.engines.remote_asking import (
    CONTINUE,
    Dialect,
    History,
    chooses,
    request,
    too_long,
)
from workers.llm.engines.remote_reading import Chunk, Continuation, Reading, Thoughts, Usage

_PATH = "/chat/completions"
_HELLO = [{"role": "user", "content": "Hello."}]
# One token in most vocabularies, and so is what a message that was gone on with is longer by. One
# that was closed is longer by its end and by the beginning of the next, three tokens at least.
_BEGUN = [*_HELLO, {"role": "assistant", "content": "Yes"}]
_WARM_UP_TOKENS = 16


class _Counted(msgspec.Struct):
    """A completion, as far as a warm-up reads it."""

    usage: Usage | None = None


@dataclass(slots=True)
class Chat:
    """A server that answers conversations, and how it does."""

    server: Server
    client: AsyncOpenAI
    dialect: Dialect = field(default_factory=Dialect)

    async def prepare(self) -> None:
        """Has the model say a few words, and finds out how the server wants to be asked.

        Raises:
            RemoteError: the server failed, or does not answer with that model.
        """
        try:
            alone = await self._prompt_tokens(_HELLO)
        except RemoteError as error:
            if not error.final or "max_completion_tokens" not in error.remark:
                raise
            self.dialect = replace(self.dialect, limit="max_completion_tokens")
            alone = await self._prompt_tokens(_HELLO)
        try:
            begun = await self._prompt_tokens(_BEGUN, CONTINUE)
        except RemoteError as error:
            if not error.final:
                raise
            return  # the server knows no such fields, or nothing of the kind
        self.dialect = replace(self.dialect, continues=0 < begun <= alone + 1)

    async def steps(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        """Answers a conversation, without its oldest turns if it is too long.

        Raises:
            PromptError: as the engine's interface has it.
            RemoteError: the server failed.
        """
        history = History(prompt)
        answer = self._called if prompt.forced else self._said
        begun = False
        while True:
            try:
                async with aclosing(answer(prompt, history.messages)) as steps:
                    async for step in steps:
                        begun = True
                        yield step
                return
            except RemoteError as error:
                if begun or not too_long(error):
                    raise
                history.shorten(error)

    async def _said(
        self, prompt: Prompt, messages: Sequence[Message]
    ) -> AsyncGenerator[Step, None]:
        """An answer in words, with the calls that the model makes of itself."""
        thoughts, reading = Thoughts(), Reading()
        joined = Continuation(prompt.prefix, self.dialect.continues)
        async with aclosing(self._chunks(prompt, messages, self.dialect)) as chunks:
            async for chunk in chunks:
                words = joined.feed(thoughts.feed(reading.take(chunk)))
                if words:
                    yield Delta(words)
        rest = joined.feed(thoughts.end()) + joined.end()
        if rest:
            yield Delta(rest)
        for call in reading.calls if prompt.parallel else reading.calls[:1]:
            yield call
        yield reading.completion

    async def _called(
        self, prompt: Prompt, messages: Sequence[Message]
    ) -> AsyncGenerator[Step, None]:
        """The call of a tool that must be called.

        There are servers that take `tool_choice` for a wish, or refuse it. They are asked for the
        arguments as JSON by their schema, if need be after the name.
        """
        schemas = {tool.name: validator(tool) for tool in prompt.forced}

        def serves(call: Call, reading: Reading) -> bool:
            if not call.complete:
                return reading.finish == "length"
            return schemas[call.name].is_valid(msgspec.json.decode(call.arguments))

        if self.dialect.binds:
            reading = await self._tried(prompt, messages)
            calls = [call for call in reading.calls if call.name in schemas]
            if reading.finish == "length" or (calls and serves(calls[0], reading)):
                for call in calls[:1]:
                    yield call
                yield reading.completion
                return
        tool, left = await self._chosen(prompt, messages)
        if left <= 0:
            yield Completion("length", 0, prompt.max_tokens)
            return
        call, reading = await self._as_json(replace(prompt, max_tokens=left), messages, tool)
        if not serves(call, reading):
            names = ", ".join(schemas)
            raise PromptError(f"tools: the model cannot be held to the parameters of {names}")
        self.dialect = replace(self.dialect, binds=False)
        yield call
        yield reading.completion

    async def _tried(self, prompt: Prompt, messages: Sequence[Message]) -> Reading:
        """What comes of `tool_choice`: the calls, if there are any. Words are not waited for."""
        reading, thoughts = Reading(), Thoughts()
        try:
            async with aclosing(self._chunks(prompt, messages, self.dialect)) as chunks:
                async for chunk in chunks:
                    if thoughts.feed(reading.take(chunk)).strip() and not reading.calls:
                        break
        except RemoteError as error:
            if not error.final or error.status in (401, 403) or too_long(error):
                raise
        return reading

    async def _chosen(self, prompt: Prompt, messages: Sequence[Message]) -> tuple[Tool, int]:
        """The tool to call, and how many tokens are left for its arguments."""
        first, *others = prompt.forced
        if not others:
            return first, prompt.max_tokens
        call, reading = await self._as_json(prompt, messages, chooses(prompt.forced))
        if reading.finish == "length":
            return first, 0
        by_name = {tool.name: tool for tool in prompt.forced}
        name = msgspec.json.decode(call.arguments).get("function") if call.complete else None
        if name not in by_name:
            raise PromptError(f"tools: the model chose none of {', '.join(by_name)}")
        return by_name[name], prompt.max_tokens - reading.completion.completion_tokens

    async def _as_json(
        self, prompt: Prompt, messages: Sequence[Message], tool: Tool
    ) -> tuple[Call, Reading]:
        """A call of `tool` that the model was asked for as JSON."""
        alone = replace(prompt, tools=(tool,), choice="required")
        dialect = replace(self.dialect, binds=False)
        reading, thoughts, written = Reading(), Thoughts(), ""
        async with aclosing(self._chunks(alone, messages, dialect)) as chunks:
            async for chunk in chunks:
                written += thoughts.feed(reading.take(chunk))
        return reading.as_call(tool.name, written + thoughts.end()), reading

    async def _chunks(
        self, prompt: Prompt, messages: Sequence[Message], dialect: Dialect
    ) -> AsyncGenerator[Chunk, None]:
        """What the server streams, to the end of the answer; closing it ends the request."""
        body = request(self.server.model, messages, prompt, dialect)
        ended = False
        with self.server.asking():
            stream = await self.client.post(
                _PATH, body=body, cast_to=object, stream=True, stream_cls=AsyncStream[object]
            )
            async with stream:
                async for data in stream:
                    chunk = msgspec.convert(data, Chunk)
                    ended |= any(choice.finish_reason for choice in chunk.choices)
                    yield chunk
        if not ended:
            raise RemoteError("the server of PARLEY_LLM_URL ended an answer without saying why")

    async def _prompt_tokens(
        self, messages: list[dict[str, str]], fields: dict[str, bool] | None = None
    ) -> int:
        """How long the server says that a conversation is, 0 if it does not say."""
        body = {
            "model": self.server.model,
            "messages": messages,
            self.dialect.limit: _WARM_UP_TOKENS,
            **(fields or {}),
        }
        with self.server.asking():
            answer = await self.client.post(_PATH, body=body, cast_to=object)
            usage = msgspec.convert(answer, _Counted).usage
        return usage.prompt_tokens if usage else 0
