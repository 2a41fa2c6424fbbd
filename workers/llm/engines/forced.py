"""Calls that llama.cpp cannot but make: a grammar that allows nothing else, and how to read it.

llama.cpp is asked for `tool_choice: required` in vain: models answer in prose all the same, with a
template that knows tools or without. A grammar of our own holds for every model. It is llguidance's
(https://github.com/guidance-ai/llguidance), which keeps to a JSON schema as its specification says;
llama.cpp's own converter drops what it does not know, such as the limits of a fraction.

A grammar that llguidance cannot compile is dropped in silence, and the model writes what it likes.
That is seen with the first token, since nobody writes just this opening unless made to: models that
know the tag put a line break after it.
"""

import json
from collections.abc import Iterable
from typing import Any

from shared.messages import Tool
from workers.llm.engines import Call, PromptError
from workers.llm.engines.chat import parameters

# Of four wordings the one with which the starter model chose best, in six of eight cases; with the
# bare JSON it was two.
_OPENING = '<tool_call>{{"name": {name}, "arguments": '
_CLOSING = "}</tool_call>"
# White space is for people, and a small model may not find out of it.
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# Where properties may come from elsewhere in a schema too.
_COMBINING = {"additionalProperties", "patternProperties", "anyOf", "oneOf", "$ref", "if"}


class ForcedCall:
    """The call of one of some tools, as it is generated."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._openings = {tool.name: _opening(tool.name) for tool in tools}
        self._text = ""

    def feed(self, text: str) -> None:
        """Takes in what was generated next.

        Raises:
            PromptError: it is no such call, so the grammar was dropped.
        """
        self._text += text
        openings = self._openings.values()
        if not any(self._text.startswith(o) or o.startswith(self._text) for o in openings):
            raise self._unheld()

    def ended(self, cut: bool) -> list[Call]:
        """The call, if its function is known; `cut` says that the model was not let finish it.

        Raises:
            PromptError: as `feed`.
        """
        for name, opening in self._openings.items():
            if self._text.startswith(opening):
                written = self._text.removeprefix(opening)
                length = _value_length(written)
                if length or cut:
                    return [Call(name, written[:length], complete=length is not None)]
        if cut:
            return []
        raise self._unheld()

    def _unheld(self) -> PromptError:
        names = ", ".join(self._openings)
        return PromptError(f"tools: the model cannot be held to the parameters of {names}")


def grammar(tools: Iterable[Tool]) -> str:
    """A Lark grammar of llguidance for the call of one of `tools`.

    Raises:
        PromptError: a tool's parameters are no JSON object.
    """
    rules = ["%llguidance {}"]
    calls = []
    for number, tool in enumerate(tools):
        calls.append(f"call_{number}")
        opening, closing = json.dumps(_opening(tool.name)), json.dumps(_CLOSING)
        rules.append(f"call_{number}: {opening} arguments_{number} {closing}")
        rules.append(f"arguments_{number}: %json {json.dumps(_schema(tool))}")
    return "\n".join([*rules, "start: " + " | ".join(calls)])


def _value_length(text: str) -> int | None:
    """How long the JSON value is that the text begins with, None if it does not end there."""
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except json.JSONDecodeError:
        return None


def _opening(name: str) -> str:
    return _OPENING.format(name=json.dumps(name))


def _schema(tool: Tool) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, an object and closed where it may be."""
    schema = parameters(tool)
    if not _COMBINING & schema.keys() and "allOf" not in schema:
        schema = {"type": "object", "properties": {}, **schema}
    if '"allOf"' not in tool.parameters:  # whose parts must leave room for each other
        schema = _closed(schema)
    return {**schema, "x-guidance": _COMPACT}


def _closed(schema: Any) -> Any:
    """A schema whose objects have no properties but those it names, where it leaves that open:
    a small model would go on inventing some."""
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed_in(key, value) for key, value in schema.items()}
    names = schema.get("properties")
    named = isinstance(names, dict) and names.keys() >= set(schema.get("required", []))
    if named and not _COMBINING & schema.keys():
        inner["additionalProperties"] = False
    return inner


def _closed_in(key: str, value: Any) -> Any:
    if key in {"properties", "$defs", "definitions"} and isinstance(value, dict):
        return {name: _closed(schema) for name, schema in value.items()}
    if key in {"items", "additionalProperties"}:
        return _closed(value)
    if key in {"anyOf", "oneOf", "prefixItems"} and isinstance(value, list):
        return [_closed(schema) for schema in value]
    return value
