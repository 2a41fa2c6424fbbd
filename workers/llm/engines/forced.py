"""Calls that a model cannot but make: a grammar that allows nothing else, and how to read it.

llama.cpp is asked for `tool_choice: required` in vain, models answer in prose all the same, with a
template that knows tools or without; Transformers cannot be asked. A grammar of our own holds for
every model. It is llguidance's (https://github.com/guidance-ai/llguidance), which keeps to a JSON
schema as its specification says; llama.cpp's own converter drops what it does not know, such as the
limits of a fraction.

A grammar that llguidance cannot compile is dropped by llama.cpp in silence, and the model writes
what it likes. That is seen with the first token, since nobody writes just this opening unless made
to: models that know the tag put a line break after it. A grammar may also prove too much in the
middle of a call, or not know a limit, such as a number beyond 64 bits. So what was written is held
against the schema in the end.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from shared.messages import Tool
from workers.llm.engines import Call, PromptError
from workers.llm.engines.chat import parameters

# Of four wordings the one with which the starter model chose best, in six of eight cases; with the
# bare JSON it was two.
_OPENING = '<tool_call>{{"name": {name}, "arguments": '
_CLOSING = "}</tool_call>"
# White space is for people, and a small model may not find out of it.
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# The formats it knows and that have one shape. In others, such as "email", a small model does not
# find an end. By the specification a format is no more than a remark.
_FORMATS = {"date-time", "time", "date", "ipv4", "ipv6", "uuid"}
# What a model that is not trained to make calls gets where the schema sets no end: it finds none.
_LENGTH, _ITEMS, _NUMBER, _STEP = 80, 3, 10**12, 0.01
_PLAIN = ["string", "number", "boolean", "null"]
# Where properties may come from elsewhere in a schema too.
_COMBINING = {"additionalProperties", "patternProperties", "anyOf", "oneOf", "$ref", "if"}


class ForcedCall:
    """The call of one of some tools, as it is generated.

    Raises:
        PromptError: a tool's parameters are no JSON schema.
    """

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._openings = {tool.name: _opening(tool.name) for tool in tools}
        self._schemas = {tool.name: validator(tool) for tool in tools}
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
            PromptError: as `feed`, or the arguments are not what the schema allows.
        """
        for name, opening in self._openings.items():
            if self._text.startswith(opening):
                written = self._text.removeprefix(opening)
                length = _value_length(written)
                if length and not self._allows(name, written[:length]):
                    raise self._unheld()
                if length or cut:
                    return [Call(name, written[:length], complete=length is not None)]
        if cut:
            return []
        raise self._unheld()

    def _allows(self, name: str, arguments: str) -> bool:
        value = json.loads(arguments)
        return isinstance(value, dict) and self._schemas[name].is_valid(value)

    def _unheld(self) -> PromptError:
        names = ", ".join(self._openings)
        return PromptError(f"tools: the model cannot be held to the parameters of {names}")


def grammar(tools: Iterable[Tool], *, trained: bool) -> str:
    """A Lark grammar of llguidance for the call of one of `tools`.

    Unless the model is `trained` to make calls, strings and arrays that may be endless are not.

    Raises:
        PromptError: a tool's parameters are no JSON object.
    """
    rules = ["%llguidance {}"]
    calls = []
    for number, tool in enumerate(tools):
        calls.append(f"call_{number}")
        opening, closing = json.dumps(_opening(tool.name)), json.dumps(_CLOSING)
        rules.append(f"call_{number}: {opening} arguments_{number} {closing}")
        rules.append(f"arguments_{number}: %json {json.dumps(_schema(tool, trained))}")
    return "\n".join([*rules, "start: " + " | ".join(calls)])


def validator(tool: Tool) -> Draft202012Validator:
    """What holds arguments against a tool's schema. It looks nothing up, and takes no longer for a
    pattern than it is long.

    Raises:
        PromptError: the tool's parameters are no JSON schema.
    """
    schema = parameters(tool)
    try:
        return Draft202012Validator(schema, offline=True, pattern_options=RegexOptions())
    except (ValidationError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise PromptError(f"tools: the parameters of {tool.name} do not serve: {reason}") from error


def _value_length(text: str) -> int | None:
    """How long the JSON value is that the text begins with, None if it does not end there."""
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except json.JSONDecodeError:
        return None


def _opening(name: str) -> str:
    return _OPENING.format(name=json.dumps(name))


def _schema(tool: Tool, trained: bool) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, an object and closed where it may be."""
    schema = parameters(tool)
    if not _COMBINING & schema.keys() and "allOf" not in schema:
        schema = {"type": "object", "properties": {}, **schema}
    schema = _each(_known, schema)
    if '"allOf"' not in tool.parameters:  # whose parts must leave room for each other
        schema = _each(_closed, schema)
    if not trained:
        schema = _each(_bounded, schema)
    return {**schema, "x-guidance": _COMPACT}


def _known(schema: dict[str, Any]) -> dict[str, Any]:
    """Without a format that llguidance should not see; other things it does not know are errors."""
    unknown = isinstance(schema.get("format"), str) and schema["format"] not in _FORMATS
    return {key: value for key, value in schema.items() if key != "format" or not unknown}


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """An object without properties but those it names, where the schema leaves that open: a small
    model would go on inventing some."""
    names = schema.get("properties")
    named = isinstance(names, dict) and names.keys() >= set(schema.get("required", []))
    if named and not _COMBINING & schema.keys():
        return {**schema, "additionalProperties": False}
    return schema


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """A value that is not endless."""
    if "enum" in schema or "const" in schema:
        return schema
    if not (_COMBINING | {"type", "allOf", "properties", "items"}) & schema.keys():
        schema = {**schema, "type": _PLAIN}
    kinds = schema.get("type")
    bounds: dict[str, Any] = {}
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind == "string":
            bounds["maxLength"] = max(_LENGTH, schema.get("minLength", 0))
        elif kind == "array":
            bounds["maxItems"] = max(_ITEMS, schema.get("minItems", 0))
        elif kind == "object" and schema.get("additionalProperties", True):
            bounds["maxProperties"] = max(_ITEMS, len(schema.get("properties", ())))
        elif kind in {"integer", "number"}:
            bounds |= {"minimum": -_NUMBER, "maximum": _NUMBER}
        if kind == "number" and _room(schema) > 2 * _STEP:
            bounds["multipleOf"] = _STEP
    return {**bounds, **schema}


def _room(schema: dict[str, Any]) -> float:
    """How far apart the limits of a number are; nothing if it is of a fineness of its own."""
    if "multipleOf" in schema:
        return 0
    least = max(schema.get(name, -_NUMBER) for name in ("minimum", "exclusiveMinimum"))
    most = min(schema.get(name, _NUMBER) for name in ("maximum", "exclusiveMaximum"))
    return most - least


def _each(change: Callable[[dict[str, Any]], dict[str, Any]], schema: Any) -> Any:
    """A schema with a change made to it and to all that are in it."""
    if not isinstance(schema, dict):
        return schema
    inner = dict(schema)
    for key in {"properties", "$defs", "definitions"} & schema.keys():
        inner[key] = {name: _each(change, value) for name, value in schema[key].items()}
    for key in {"items", "additionalProperties"} & schema.keys():
        inner[key] = _each(change, schema[key])
    for key in {"anyOf", "oneOf", "allOf", "prefixItems"} & schema.keys():
        inner[key] = [_each(change, value) for value in schema[key]]
    return change(inner)
