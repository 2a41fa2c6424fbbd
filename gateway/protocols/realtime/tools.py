"""The functions that a client offers to the model, in a session or for one response."""

import json
import re
from collections.abc import Sequence
from typing import Any

from jsonschema_rs import Draft202012Validator

from gateway.protocols.realtime.checks import Json, short, small, wrong
from gateway.protocols.realtime.errors import ProtocolError, field
from shared.messages import NamedTool, Tool, ToolChoice, Tooling

_MOST_TOOLS = 128
_LONGEST_TOOLS = 65_536
_LONGEST_DESCRIPTION = 8_192
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# A schema is nested no deeper than this, so that whoever walks it needs no bound of its own.
_DEEPEST = 32
_LONGEST_REASON = 200
# What a schema must be like. It is held against this one, not against the one that it names in
# `$schema`, which would be looked for on the network.
_SCHEMA = Draft202012Validator({"$ref": "https://json-schema.org/draft/2020-12/schema"})


def checked_tools(given: Sequence[Json], name: str) -> list[Json]:
    """The functions as they are shown; `name` is what the client calls the list.

    Raises:
        ProtocolError: too many or too much, no functions, one name twice, or parameters that are
            not the JSON schema of an object.
    """
    if len(given) > _MOST_TOOLS:
        raise wrong(name, f"must have at most {_MOST_TOOLS} functions, not {len(given)}")
    small(given, _LONGEST_TOOLS, name)
    tools = [_checked(tool, f"{name}.{index}") for index, tool in enumerate(given)]
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if tool["name"] in names:
            raise wrong(f"{name}.{index}.name", f"must be used once: {tool['name']!r} is there")
        names.add(tool["name"])
    return tools


def checked_choice(given: str | Json, tools: Sequence[Json], name: str) -> str | Json:
    """How the model is to use the functions, as it is shown.

    Raises:
        ProtocolError: a function that is not there, none at all, or a tool of another kind.
    """
    if given in ("auto", "none"):
        return given
    if not tools:
        raise wrong(name, "must be auto or none: there are no tools")
    if isinstance(given, str):
        return given
    if given["type"] != "function":
        raise _not_a_function(name)
    names = [tool["name"] for tool in tools]
    if given["name"] not in names:
        raise wrong(f"{name}.name", f"must be one of {', '.join(names)}, the names of the tools")
    return {"type": "function", "name": given["name"]}


def tooling(tools: Sequence[Json], choice: str | Json, *, parallel: bool) -> Tooling:
    """What the functions, as shown, mean to the language model."""
    return Tooling(
        tools=[
            Tool(
                name=tool["name"],
                description=tool["description"],
                parameters=json.dumps(tool["parameters"]),
            )
            for tool in tools
        ],
        choice=_choice(choice),
        parallel=parallel,
    )


def _choice(shown: str | Json) -> ToolChoice:
    match shown:
        case "auto" | "none" | "required":
            return shown
        case {"name": str(name)}:
            return NamedTool(name)
        case _:
            raise AssertionError(f"no tool choice: {shown!r}")


def _checked(given: Json, name: str) -> Json:
    if given.get("type") not in (None, "function"):
        raise _not_a_function(name)
    tool_name = given.get("name")
    if not tool_name or not _NAME.fullmatch(tool_name):
        raise wrong(f"{name}.name", "must be 1 to 64 letters, digits, underscores, dashes or dots")
    description = short(given.get("description") or "", _LONGEST_DESCRIPTION, f"{name}.description")
    parameters = given.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    _check_schema(parameters, f"{name}.parameters")
    return {
        "type": "function",
        "name": tool_name,
        "description": description,
        "parameters": parameters,
    }


def _not_a_function(name: str) -> ProtocolError:
    return wrong(f"{name}.type", "must be function: this server calls no tools of its own")


def _check_schema(schema: Any, name: str) -> None:
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise wrong(name, 'must be a JSON schema of type "object"')
    if _depth(schema) > _DEEPEST:
        raise wrong(name, f"must be nested at most {_DEEPEST} deep")
    if (problem := next(_SCHEMA.iter_errors(schema), None)) is not None:
        place = field((name, *problem.instance_path))
        raise wrong(place, f"must be valid JSON schema: {problem.message[:_LONGEST_REASON]}")


def _depth(value: Any) -> int:
    """How deep lists and objects are nested in a value of JSON."""
    level, depth = [value], 0
    while level:
        inner = [v.values() if isinstance(v, dict) else v for v in level if type(v) in (dict, list)]
        depth += bool(inner)
        level = [value for values in inner for value in values]
    return depth
