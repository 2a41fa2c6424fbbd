"""What servers make of tools, and what an engine makes of that."""

import json
from collections.abc import AsyncIterator

import pytest

from shared.messages import NamedTool, Tool
from tests.engines.asking import answer, ask
from tests.support.chat_server import call_part, chat_app, says, usage, words
from tests.support.chatting import asked, chatting
from tests.support.http import Faulty, replies
from workers.llm.engines import Call, Completion, Delta, LlmEngine, Message, Prompt, PromptError
from workers.llm.engines.remote import RemoteEngine

CITY = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
WEATHER = Tool(name="get_weather", description="Tells the weather.", parameters=CITY)
CLOCK = Tool(name="clock", description="Tells the time.", parameters='{"type": "object"}')


@pytest.fixture
def server() -> Faulty:
    return Faulty(chat_app())


@pytest.fixture
async def engine(server: Faulty) -> AsyncIterator[RemoteEngine]:
    async with chatting(server) as loaded:
        yield loaded


async def steps(engine: LlmEngine, prompt: Prompt) -> tuple[list[Call], Completion]:
    *calls, completion = [step async for step in engine.stream(prompt)]
    assert isinstance(completion, Completion)
    assert all(isinstance(call, Call) for call in calls)
    return [call for call in calls if isinstance(call, Call)], completion


async def test_calls_are_put_together_and_come_whole(engine: RemoteEngine, server: Faulty) -> None:
    server.faults.append(
        says(
            words("Let me see."),
            call_part(0, "", id="a", name="get_weather"),
            call_part(0, '{"city": "Ro'),
            call_part(1, "", id="b", name="clock"),
            call_part(0, 'me"}'),
            words("", "tool_calls"),
        )
    )
    found = [step async for step in engine.stream(ask("Hi.", tools=(WEATHER, CLOCK)))]
    assert found[:3] == [
        Delta("Let me see."),
        Call("get_weather", '{"city": "Rome"}'),
        Call("clock", "{}"),
    ]
    assert asked(server)["tool_choice"] == "auto"
    assert [tool["function"]["name"] for tool in asked(server)["tools"]] == ["get_weather", "clock"]


async def test_calls_that_are_all_number_0_are_told_apart(
    engine: RemoteEngine, server: Faulty
) -> None:
    parts = [call_part(0, "{}", id=one, name="clock") for one in ("a", "b")]
    server.faults.extend([says(*parts, words("", "stop"))] * 2)
    calls, _ = await steps(engine, ask("Hi.", tools=(CLOCK,)))
    assert calls == [Call("clock", "{}")] * 2
    calls, _ = await steps(engine, ask("Hi.", tools=(CLOCK,), parallel=False))
    assert calls == [Call("clock", "{}")]
    assert asked(server)["parallel_tool_calls"] is False


@pytest.mark.parametrize("arguments", ['{"city": "Ro', "", "[]"])
async def test_a_call_that_was_cut_is_not_complete(
    engine: RemoteEngine, server: Faulty, arguments: str
) -> None:
    part = call_part(0, arguments, id="a", name="get_weather")
    server.faults.append(says(part, words("", "length")))
    calls, completion = await steps(engine, ask("Hi.", tools=(WEATHER,)))
    assert calls == [Call("get_weather", arguments, complete=False)]
    assert completion.finish == "length"


async def test_no_tools_are_offered_where_none_may_be_called(
    engine: RemoteEngine, server: Faulty
) -> None:
    server.faults.append(says(words("Hello", "stop")))
    history = [
        Message("user", "What time is it?"),
        Message("assistant", "", calls=(Call("clock", "{}", call_id="a"),)),
        Message("tool", "Noon.", name="clock", call_id="a"),
        Message("user", "Thanks."),
    ]
    await answer(engine, Prompt(history, tools=(CLOCK,), choice="none"))
    assert not {"tools", "tool_choice"} & asked(server).keys()
    # A model that sees calls and may make none would write some in words.
    told = "What time is it?\nclock returned: Noon.\nThanks."
    assert asked(server)["messages"] == [{"role": "user", "content": told}]
    server.faults.append(says(words("Hello", "stop")))
    await answer(engine, Prompt(history, tools=(CLOCK,)))
    assert [m["role"] for m in asked(server)["messages"]] == ["user", "assistant", "tool", "user"]


async def test_a_call_that_is_forced_is_asked_for_by_name(
    engine: RemoteEngine, server: Faulty
) -> None:
    part = call_part(0, '{"city": "Rome"}', id="a", name="get_weather")
    server.faults.extend([says(part, words("", "stop"))] * 2)
    named = ask("Hi.", tools=(WEATHER, CLOCK), choice=NamedTool("get_weather"))
    assert (await steps(engine, named))[0] == [Call("get_weather", '{"city": "Rome"}')]
    choice = {"type": "function", "function": {"name": "get_weather"}}
    assert asked(server)["tool_choice"] == choice
    await steps(engine, ask("Hi.", tools=(WEATHER, CLOCK), choice="required"))
    assert asked(server)["tool_choice"] == "required"
    assert len(server.posted) == 2


@pytest.mark.parametrize("how", ["words", "refused", "another", "unfit"])
async def test_a_call_that_a_server_does_not_force_is_asked_for_as_json(
    engine: RemoteEngine, server: Faulty, how: str
) -> None:
    server.faults.append(
        {
            "words": says(words("It is cold."), words("", "stop")),
            "refused": replies(400, b"tool_choice is not supported"),
            "another": says(call_part(0, "{}", id="a", name="fly"), words("", "stop")),
            "unfit": says(call_part(0, '{"city": 1}', name="get_weather"), words("", "stop")),
        }[how]
    )
    server.faults.append(says(words('{"function": "get_weather"}', "stop")))
    server.faults.append(says(words('<think>…</think> {"city"'), words(': "Oslo"}', "stop")))
    calls, _ = await steps(engine, ask("Hi.", tools=(CLOCK, WEATHER), choice="required"))
    assert calls == [Call("get_weather", '{"city": "Oslo"}')]
    formats = [asked(server, n)["response_format"]["json_schema"]["schema"] for n in (1, 2)]
    assert formats[0]["properties"]["function"]["enum"] == ["clock", "get_weather"]
    assert formats[1] == json.loads(CITY)
    # Once it is known, it is asked for so at once.
    server.faults.append(says(words('{"city": "Rome"}', "stop")))
    await steps(engine, ask("Hi.", tools=(WEATHER,), choice="required"))
    assert len(server.posted) == 4


async def test_a_forced_call_that_is_cut_before_its_name_is_not_asked_for_again(
    engine: RemoteEngine, server: Faulty
) -> None:
    server.faults.append(says(words("<think>Rome"), words("", "length"), usage(9, 16)))
    forced = ask("Hi.", tools=(WEATHER,), choice="required")
    assert await steps(engine, forced) == ([], Completion("length", 9, 16))
    assert len(server.posted) == 1


async def test_choosing_a_tool_and_its_arguments_share_the_limit(
    engine: RemoteEngine, server: Faulty
) -> None:
    prompt = ask("Hi.", tools=(CLOCK, WEATHER), choice="required", max_tokens=9)
    refusal = replies(400, b"tool_choice is not supported")
    chosen = words('{"function": "clock"}', "stop")
    server.faults.extend([refusal, says(chosen, usage(9, 6)), says(words("{}", "stop"))])
    assert (await steps(engine, prompt))[0] == [Call("clock", "{}")]
    assert [asked(server, number)["max_tokens"] for number in (1, 2)] == [9, 3]
    server.faults.append(says(words('{"func', "length")))
    assert await steps(engine, prompt) == ([], Completion("length", 0, 9))


@pytest.mark.parametrize("arguments", ["{}", '{"city": 1}', "It is cold."])
async def test_a_model_that_cannot_be_held_to_a_schema_is_an_error(
    engine: RemoteEngine, server: Faulty, arguments: str
) -> None:
    server.faults.extend([says(words(arguments, "stop"))] * 2)
    with pytest.raises(PromptError, match="cannot be held to the parameters of get_weather"):
        await steps(engine, ask("Hi.", tools=(WEATHER,), choice="required"))
