"""What a server is asked, and how a conversation that is too long for it is made shorter."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.messages import Tool
from shared.remote import RemoteError
from workers.llm.engines import Message, Prompt, PromptError
from workers.llm.engines.chat import declared, native_messages, parameters
from workers.llm.engines.history import shortened

# Turns go by the block, so that what is left begins alike for a while and is read once. A longer
# conversation has longer blocks.
_LEAST_BLOCK, _BLOCKS = 256, 32
# A refusal leaves open how much is too much: the next attempt has at most so much of it.
_STEP = 0.75
# Only a limit that a client sets is held against an estimate; the server knows its own.
_CHARACTERS_A_TOKEN = 4
# A server's own words for a context that is full, as vLLM, SGLang, llama.cpp, TGI, OpenAI and
# those who speak like them have it.
_TOO_LONG = re.compile(
    r"context.?(length|size|window)|context_size|maximum model length|max_new_tokens|too long"
    r"|too many tokens|`inputs` must have less|reduce the length",
    re.IGNORECASE,
)
# vLLM's way to have an assistant's message that comes last gone on with; SGLang has it too, and
# llama.cpp does so by itself.
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
# For a model that has to be asked for it.
_GO_ON = (
    "You were interrupted. Go on from exactly where your last message broke off, with the very"
    " next word, and repeat nothing."
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between servers, as it was found out.

    `limit` is the field for the longest answer. `continues` says that the model goes on with an
    assistant's message that comes last; `binds`, that `tool_choice` makes it call a tool.
    """

    limit: str = "max_tokens"
    continues: bool = False
    binds: bool = True


def request(
    model: str, messages: Sequence[Message], prompt: Prompt, dialect: Dialect
) -> dict[str, Any]:
    """The body that asks for an answer to `messages`, streamed, else as `prompt` says."""
    as_json = bool(prompt.forced) and not dialect.binds
    goes_on = bool(prompt.prefix) and dialect.continues and not prompt.forced
    told = [*messages] if prompt.offered else _without_calls(messages)
    if prompt.prefix:
        told.append(Message("assistant", prompt.prefix.rstrip()))
    if as_json:
        told.append(Message("user", _asked_for(prompt.forced[0])))
    elif prompt.prefix and not goes_on:
        told.append(Message("user", _GO_ON))
    body: dict[str, Any] = {
        "model": model,
        "messages": native_messages(_joined(told)),
        dialect.limit: prompt.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if prompt.temperature is not None:
        body["temperature"] = prompt.temperature
    if goes_on:
        body |= CONTINUE
    if as_json:
        body["response_format"] = _format(prompt.forced[0])
    elif prompt.offered:
        body["tools"] = declared(prompt.offered)
        body["tool_choice"] = _choice(prompt)
        body["parallel_tool_calls"] = prompt.parallel
    return body


def too_long(error: RemoteError) -> bool:
    """Whether a server refused a conversation for its length."""
    return error.final and _TOO_LONG.search(error.remark) is not None


class History:
    """A conversation, ever shorter as the server or the client's own limit asks for it.

    Raises:
        PromptError: nothing may be left out, and it is too long for that limit.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._truncation = prompt.truncation
        self._versions = shortened(prompt.messages, _block(_length(prompt.messages)))
        self.messages = self._versions[0]
        tokens = prompt.truncation.tokens
        system = [message for message in prompt.messages if message.role == "system"]
        longest = math.inf
        if tokens is not None:
            longest = tokens * _CHARACTERS_A_TOKEN + _length(system)
        if _length(self.messages) > longest:
            self._shorten(longest * (prompt.truncation.retain or 0), f"{tokens} tokens fit")

    def shorten(self, reason: RemoteError) -> None:
        """Leaves out the oldest turns.

        Raises:
            PromptError: nothing may be left out any more; in the server's words.
        """
        step = min(_STEP, self._truncation.retain or 0)
        self._shorten(step * _length(self.messages), str(reason))

    def _shorten(self, longest: float, reason: str) -> None:
        if self._truncation.retain is None:
            raise PromptError(f"messages: the conversation is too long: {reason}")
        if self.messages is self._versions[-1]:
            raise PromptError(f"messages: the instructions and the last question: {reason}")
        shorter = self._versions[self._versions.index(self.messages) + 1 :]
        fitting = [version for version in shorter if _length(version) <= longest]
        self.messages = fitting[0] if fitting else shorter[-1]


def chooses(tools: Sequence[Tool]) -> Tool:
    """A tool whose arguments are the name of one of `tools`."""
    schema = {
        "type": "object",
        "properties": {"function": {"enum": [tool.name for tool in tools]}},
        "required": ["function"],
        "additionalProperties": False,
    }
    return Tool(name="choose", description="Names the function.", parameters=json.dumps(schema))


def _choice(prompt: Prompt) -> Any:
    if len(prompt.forced) == 1:
        return {"type": "function", "function": {"name": prompt.forced[0].name}}
    return "required" if prompt.forced else "auto"


def _asked_for(tool: Tool) -> str:
    return f"Call the function {tool.name}: {tool.description} Answer with its arguments as JSON."


def _format(tool: Tool) -> dict[str, Any]:
    """A JSON answer that is a tool's arguments. Servers can hold a model to that which take no
    notice of `tool_choice`."""
    schema = {"type": "object", **parameters(tool)}
    return {"type": "json_schema", "json_schema": {"name": "arguments", "schema": schema}}


def _without_calls(messages: Sequence[Message]) -> list[Message]:
    """What was said, and what functions returned: a model that sees calls and may make none writes
    some in words. A system message would be refused by templates that have it first."""
    plain = []
    for message in messages:
        if message.role == "tool":
            plain.append(Message("user", f"{message.name} returned: {message.content}"))
        elif message.content or not message.calls:
            plain.append(replace(message, calls=()))
    return plain


def _joined(messages: Sequence[Message]) -> list[Message]:
    """One message for what somebody says in a row, since some models' templates take no other."""
    joined: list[Message] = []
    for message in messages:
        before = joined[-1] if joined else None
        plain = message.role in ("user", "assistant") and not message.calls
        if before and plain and before.role == message.role and not before.calls:
            content = "\n".join(filter(None, (before.content, message.content)))
            joined[-1] = replace(before, content=content)
        else:
            joined.append(message)
    return joined


def _block(characters: int) -> int:
    """A power of two: it seldom changes, and with it the place of the cuts."""
    return max(_LEAST_BLOCK, 1 << (characters // _BLOCKS).bit_length())


def _length(messages: Sequence[Message]) -> int:
    return sum(
        len(message.content) + sum(len(call.arguments) for call in message.calls)
        for message in messages
    )
