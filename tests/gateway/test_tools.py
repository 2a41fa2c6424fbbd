"""Functions that clients offer: what cannot be offered is refused by its name."""

from typing import Any

import pytest

from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.tools import checked_choice, checked_tools, tooling
from shared.messages import NamedTool

Json = dict[str, Any]


def tool(name: str = "f", **fields: Any) -> Json:
    return {"type": "function", "name": name, **fields}


def schema(**fields: Any) -> Json:
    return tool(parameters={"type": "object", **fields})


def nested(depth: int) -> Json:
    inner: Json = {}
    for _ in range(depth):
        inner = {"items": inner}
    return inner


@pytest.mark.parametrize(
    ("tools", "param", "reason"),
    [
        ([tool(str(n)) for n in range(129)], "tools", "at most 128"),
        ([tool("f"), tool("g"), tool("f")], "tools.2.name", "once"),
        ([tool("")], "tools.0.name", "letters"),
        ([tool("f" * 65)], "tools.0.name", "letters"),
        ([tool("a/b")], "tools.0.name", "letters"),
        ([tool("f\n")], "tools.0.name", "letters"),
        ([tool(description="d" * 8_193)], "tools.0.description", "at most 8192"),
        ([schema(title="t" * 65_536)], "tools", "at most 65536"),
        ([{"type": "mcp", "server_label": "s"}], "tools.0.type", "must be function"),
        ([tool(parameters=[])], "tools.0.parameters", "JSON schema"),
        ([tool(parameters="{}")], "tools.0.parameters", "JSON schema"),
        ([tool(parameters={"type": "string"})], "tools.0.parameters", "JSON schema"),
        ([schema(properties=nested(40))], "tools.0.parameters", "at most 32 deep"),
        ([schema(properties={"a": {"type": 17}})], "tools.0.parameters.properties.a.type", "valid"),
        ([schema(required="a")], "tools.0.parameters.required", "valid"),
    ],
)
def test_what_cannot_be_offered_is_refused(tools: list[Json], param: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason) as caught:
        checked_tools(tools, "tools")
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


def test_a_function_without_parameters_takes_none() -> None:
    (shown,) = checked_tools([{"name": "f", "description": None, "parameters": None}], "tools")
    assert shown == tool(description="", parameters={"type": "object", "properties": {}})


def test_a_schema_is_kept_as_it_came() -> None:
    given = schema(
        properties={"a": {"enum": ["x", None]}, "b": {"$ref": "#/$defs/b"}},
        additionalProperties=False,
        **{"$defs": {"b": {"type": ["integer", "null"], "default": None}}},
    )
    assert checked_tools([given], "tools")[0]["parameters"] == given["parameters"]


def test_a_schema_s_references_are_followed_nowhere() -> None:
    elsewhere = schema(
        **{"$schema": "http://127.0.0.1:9/schema"},
        properties={"a": {"$ref": "http://127.0.0.1:9/a"}},
    )
    assert checked_tools([elsewhere], "tools")[0]["parameters"] == elsewhere["parameters"]


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, NamedTool("f")),
    ],
)
def test_a_choice_is_shown_and_meant(choice: Any, meant: Any) -> None:
    tools = checked_tools([tool("f")], "tools")
    shown = checked_choice(choice, tools, "tool_choice")
    assert shown == choice
    assert tooling(tools, shown, parallel=True).choice == meant


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "function", "name": "g"}, "tool_choice.name"),
        ({"type": "mcp", "server_label": "s"}, "tool_choice.type"),
    ],
)
def test_a_choice_of_what_is_not_there_is_refused(choice: Any, param: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        checked_choice(choice, checked_tools([tool("f")], "tools"), "tool_choice")
    assert caught.value.param == param


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "f"}])
def test_nothing_can_be_required_where_nothing_is(choice: Any) -> None:
    with pytest.raises(ProtocolError, match="there are no tools"):
        checked_choice(choice, [], "tool_choice")
