"""Answers without a model, for tests: they repeat the question, and call what it names."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

from shared.messages import Tool
from shared.settings import Settings
from workers.llm.engines import Call, Completion, Delta, Prompt, Step

_WORD = re.compile(r"\s*\S+")
_CALL = re.compile(r"\b(?P<then>then )?call (?P<name>[\w-]+)", re.IGNORECASE)


class InstantEngine:
    """Answers the last user message, word by word, each a token:

    - "You said: <the message>. That is all I know about it."
    - Where functions returned something since, "The function said: <what>. <what>."
    - A tool that is forced is called instead. The first will do if none is named.
    - Tools that the message asks to `call <name>` are called instead; after `then call <name>` the
      message is repeated first.

    A call's arguments are the least that its schema asks for, strings being the message. The call
    is a token too, and is cut short where there is none left.
    """

    name = "instant"
    works_ahead = True
    read_ahead = None
    model = "instant"

    def __init__(self, settings: Settings) -> None:
        self.slots = settings.llm_slots

    def load(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        question = _question(prompt)
        answer, tools = _plan(prompt, question)
        words = _WORD.findall(answer.removeprefix(prompt.prefix))
        for word in words[: prompt.max_tokens]:
            yield Delta(word)
            await asyncio.sleep(0)  # where a cancellation gets in
        left = prompt.max_tokens - len(words)
        for number, tool in enumerate(tools[: left + 1] if left >= 0 else []):
            arguments = json.dumps(_least(json.loads(tool.parameters), question))
            complete = number < left
            yield Call(tool.name, arguments if complete else arguments[:1], complete)
        wanted = len(words) + len(tools)
        read = sum(len(message.content.split()) for message in prompt.messages)
        cut = wanted > prompt.max_tokens
        yield Completion("length" if cut else "stop", read, min(wanted, prompt.max_tokens))


def _question(prompt: Prompt) -> str:
    asked = [message.content.strip() for message in prompt.messages if message.role == "user"]
    return asked[-1] if asked else ""


def _plan(prompt: Prompt, question: str) -> tuple[str, list[Tool]]:
    """What to say, and what to call then."""
    if prompt.forced:
        return "", [prompt.forced[0]]
    returned = _returned(prompt)
    if returned:
        return f"The function said: {'. '.join(returned)}.", []
    answer = f"You said: {question}. That is all I know about it."
    offered = {tool.name: tool for tool in prompt.offered}
    named = [match for match in _CALL.finditer(question) if match["name"] in offered]
    if not named:
        return answer, []
    calls = [offered[match["name"]] for match in named]
    return answer if named[0]["then"] else "", calls if prompt.parallel else calls[:1]


def _returned(prompt: Prompt) -> list[str]:
    """What functions returned since anybody else spoke."""
    returned: list[str] = []
    for message in prompt.messages:
        returned = [*returned, message.content] if message.role == "tool" else []
    return returned


def _least(schema: dict[str, Any], text: str) -> Any:
    """The least that is valid, of the schemas that tests use; every string is `text`."""
    for given in ("const", "default"):
        if given in schema:
            return schema[given]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "array":
        return [_least(schema.get("items", {}), text)] * schema.get("minItems", 0)
    if kind == "object":
        known = schema.get("properties", {})
        return {name: _least(known[name], text) for name in schema.get("required", ())}
    plain = {"string": text, "boolean": True, "null": None}
    return plain[kind] if kind in plain else schema.get("minimum", 0)
