"""A conversation as OpenAI's chat completions have it, and llama.cpp and chat templates take it."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from shared.messages import Tool
from workers.llm.engines import Message, PromptError


def native_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """For a model that is shown tools by its template."""
    return [_native(message) for message in messages]


def plain_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """For a model that is shown no tools: it is told what functions returned, and never sees a
    call, which it would take for something to say."""
    told = []
    for message in messages:
        if message.role == "tool":
            content = f"{message.name} returned: {message.content}"
            told.append({"role": "system", "content": content})
        elif message.content or not message.calls:
            told.append({"role": message.role, "content": message.content})
    return told


def declared(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Tools in the same form; PromptError if the parameters of one are no
    JSON object."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": parameters(tool),
            },
        }
        for tool in tools
    ]


def parameters(tool: Tool) -> dict[str, Any]:
    """The JSON schema of a tool's arguments.

    Raises:
        PromptError: it is no JSON object.
    """
    try:
        schema = json.loads(tool.parameters)
    except ValueError as error:
        raise PromptError(f"tools: the parameters of {tool.name} are not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise PromptError(f"tools: the parameters of {tool.name} must be a JSON object")
    return schema


def _native(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        told["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.role == "tool":
        told |= {"tool_call_id": message.call_id, "name": message.name}
    return told
