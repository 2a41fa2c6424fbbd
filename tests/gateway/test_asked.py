"""What is asked of one response: what it leaves out is as the session says."""

import json
from typing import Any

import pytest
from openai.types.realtime import RealtimeResponse

from gateway.protocols.realtime.asked import Asked, asked
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.incoming import ResponseCreate, parse
from shared.messages import NamedTool, Tool, Tooling
from shared.settings import Settings

SETTINGS = Settings(instructions="Be kind.", tts_voice="joe")
LOOK_UP = {"type": "function", "name": "look_up"}
HANG_UP = {"type": "function", "name": "hang_up"}
NAMED = {"type": "function", "name": "look_up"}


def session(**update: Any) -> Configuration:
    return Configuration(SETTINGS).updated(update)


def ask(configuration: Configuration, *, voice_locked: bool = False, **response: Any) -> Asked:
    """As an event that comes over the wire."""
    request = parse(json.dumps({"type": "response.create", "response": response}))
    assert isinstance(request, ResponseCreate)
    return asked(request.response, configuration, voice_locked=voice_locked)


def names(tooling: Tooling | None) -> list[str]:
    assert tooling is not None
    return [tool.name for tool in tooling.tools]


def test_a_response_that_asks_for_nothing_is_as_the_session_says() -> None:
    configuration = session(tools=[LOOK_UP], max_output_tokens=50)
    nothing = asked(None, configuration)
    assert (nothing.instructions, nothing.max_output_tokens, nothing.tooling) == (None, None, None)
    assert (nothing.voice, nothing.input, nothing.aside) == (None, None, False)
    assert nothing.modality == "audio"
    assert nothing.output_format is configuration.output_format
    assert nothing.shown == {
        "output_modalities": ["audio"],
        "max_output_tokens": 50,
        "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "joe"}},
        "metadata": None,
    }
    assert ask(configuration) == nothing


def test_nulls_ask_for_nothing() -> None:
    fields = ["instructions", "tools", "tool_choice", "output_modalities", "max_output_tokens"]
    fields += ["metadata", "conversation", "audio", "parallel_tool_calls", "prompt", "reasoning"]
    nulls: Any = dict.fromkeys([*fields, "input"])
    assert ask(session(), **nulls) == asked(None, session())


def test_a_response_of_its_own_kind() -> None:
    special = ask(
        session(),
        instructions="Sing.",
        output_modalities=["text"],
        max_output_tokens=7,
        metadata={"topic": "songs"},
        conversation="none",
        input=[{"type": "item_reference", "id": "item_1"}],
        audio={"output": {"format": {"type": "audio/pcmu"}, "voice": "ash"}},
    )
    assert (special.instructions, special.modality, special.max_output_tokens) == (
        "Sing.",
        "text",
        7,
    )
    assert (special.aside, special.voice, special.output_format.rate) == (True, "joe", 8_000)
    assert special.input == [{"type": "item_reference", "id": "item_1"}]
    assert special.shown == {
        "output_modalities": ["text"],
        "max_output_tokens": 7,
        "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "ash"}},
        "metadata": {"topic": "songs"},
    }


def test_no_instructions_and_no_history_are_wishes_too() -> None:
    bare = ask(session(), instructions="", input=[])
    assert (bare.instructions, bare.input) == ("", [])


def test_what_is_shown_is_what_the_protocol_defines_and_travels() -> None:
    special = ask(session(), metadata={"a": "b"}, max_output_tokens=5)
    assert json.loads(special.protocol) == special.shown
    RealtimeResponse.model_validate({"id": "resp_1", **special.shown}, extra="forbid")


def test_a_response_may_be_longer_than_the_session_s() -> None:
    long = ask(session(max_output_tokens=50), max_output_tokens="inf")
    assert (long.max_output_tokens, long.shown["max_output_tokens"]) == (4096, "inf")


def test_a_function_of_the_session_can_be_named() -> None:
    configuration = session(tools=[LOOK_UP, HANG_UP], parallel_tool_calls=False)
    forced = ask(configuration, tool_choice=NAMED).tooling
    assert names(forced) == ["look_up", "hang_up"]
    assert forced is not None
    assert (forced.choice, forced.parallel) == (NamedTool("look_up"), False)


def test_a_response_s_own_functions_replace_the_session_s() -> None:
    configuration = session(tools=[LOOK_UP], tool_choice=NAMED)
    own = ask(configuration, tools=[HANG_UP], parallel_tool_calls=False).tooling
    parameters = '{"type": "object", "properties": {}}'
    hang_up = Tool(name="hang_up", parameters=parameters)
    assert own == Tooling(tools=[hang_up], choice="auto", parallel=False)
    assert ask(configuration, tools=[]).tooling == Tooling()
    forced = ask(configuration, tools=[HANG_UP], tool_choice="required").tooling
    assert forced == Tooling(tools=[hang_up], choice="required")


def test_a_session_s_choice_holds_where_a_response_s_functions_allow_it() -> None:
    configuration = session(tools=[LOOK_UP], tool_choice=NAMED)
    kept = ask(configuration, tools=[HANG_UP, LOOK_UP]).tooling
    assert kept is not None
    assert kept.choice == NamedTool("look_up")


@pytest.mark.parametrize(
    ("response", "param"),
    [
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"instructions": "i" * 32_769}, "instructions"),
        ({"output_modalities": ["audio", "text"]}, "output_modalities"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"audio": {"output": {"voice": "v" * 200}}}, "audio.output.voice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [HANG_UP], "tool_choice": NAMED}, "tool_choice.name"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "tools.0.type"),
    ],
)
def test_what_cannot_be_honoured_is_refused(response: dict[str, Any], param: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        ask(session(), **response)
    assert caught.value.param == f"response.{param}"
    assert caught.value.message.startswith(f"response.{param} ")


def test_a_voice_that_was_heard_stays() -> None:
    same = {"audio": {"output": {"voice": "joe"}}}
    assert ask(session(), voice_locked=True, **same).voice == "joe"
    with pytest.raises(ProtocolError, match="must stay 'joe'") as caught:
        ask(session(), voice_locked=True, audio={"output": {"voice": "ash"}})
    assert caught.value.param == "response.audio.output.voice"
