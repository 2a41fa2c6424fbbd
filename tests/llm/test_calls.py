"""Function calls, and what a response may have otherwise than its session."""

import asyncio

import pytest

from shared.broker import Pipe
from shared.keys import SessionKeys
from shared.messages import (
    AnyItem,
    FunctionCall,
    FunctionOutput,
    Item,
    NamedTool,
    ResponseFailed,
    SessionConfig,
    TextDone,
    Tool,
    Tooling,
    Truncation,
    TtsJob,
    decode,
)
from shared.scripts import sessions
from tests.llm.storyteller import STORY, Storyteller, segments_of, speech_of, text_of
from tests.stages import (
    ask,
    context,
    done,
    held,
    jobs_of,
    open_session,
    respond,
    shown,
    until,
    working,
)
from workers.llm.engines import Call, Message, PromptError
from workers.llm.worker import start

LAMP = Call("light_lamp", '{"room": "tower"}')
HORN = Call("sound_horn", "{}")
TOOLS = Tooling(tools=[Tool(name="light_lamp")], choice=NamedTool("light_lamp"), parallel=False)


async def conversation(pipe: Pipe, session: SessionKeys) -> list[AnyItem]:
    ids = await pipe.command("LRANGE", session.order, 0, -1)
    saved = await pipe.command("HMGET", session.items, *ids)
    return [decode(data, AnyItem) for data in saved]  # type: ignore[arg-type]


async def answered(pipe: Pipe, redis_url: str, engine: Storyteller) -> None:
    async with working(start(engine, context(pipe, redis_url))):
        await until(lambda: done(pipe, "llm"))


async def ending(pipe: Pipe, session: SessionKeys) -> TextDone:
    last = (await shown(pipe, session))[-1]
    assert isinstance(last, TextDone)
    return last


async def test_calls_are_items_after_the_words_and_are_not_spoken(
    pipe: Pipe, redis_url: str
) -> None:
    session = await open_session(pipe)
    job = await ask(pipe, session, "Tell me a story.")
    await answered(pipe, redis_url, Storyteller(calls=[LAMP, HORN]))
    question, words, *calls = await conversation(pipe, session)
    assert isinstance(words, Item)
    assert (words.item_id, words.text, words.status) == (job.item_id, STORY, "completed")
    assert isinstance(question, Item)
    assert question.role == "user"
    last = await ending(pipe, session)
    assert last.calls == calls
    assert [(c.name, c.arguments, c.status) for c in last.calls] == [
        ("light_lamp", '{"room": "tower"}', "completed"),
        ("sound_horn", "{}", "completed"),
    ]
    ids = {i for c in last.calls for i in (c.item_id, c.call_id)}
    assert len(ids) == 4
    assert text_of(await shown(pipe, session)) == STORY
    assert "".join(speech_of(await jobs_of(pipe, "tts"))) == STORY


async def test_a_call_without_words_is_the_only_item(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    await ask(pipe, session, "Light the lamp.")
    await answered(pipe, redis_url, Storyteller(calls=[LAMP], silent=True))
    _, call = await conversation(pipe, session)
    assert isinstance(call, FunctionCall)
    last = await ending(pipe, session)
    assert (last.calls, last.segments, last.cached_tokens) == ([call], 0, 5)
    assert await jobs_of(pipe, "tts") == []


async def test_a_call_that_was_cut_is_incomplete(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    await ask(pipe, session, "Light the lamp.")
    cut = Call("light_lamp", '{"roo', complete=False)
    await answered(pipe, redis_url, Storyteller(calls=[cut], silent=True, finish="length"))
    last = await ending(pipe, session)
    assert last.finish == "length"
    assert [call.status for call in last.calls] == ["incomplete"]


async def test_words_that_were_cut_are_incomplete(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    await ask(pipe, session, "Tell me a story.")
    await answered(pipe, redis_url, Storyteller(finish="length"))
    assert (await conversation(pipe, session))[-1].status == "incomplete"


async def test_a_successor_goes_on_with_the_words_and_makes_the_same_calls(
    pipe: Pipe, redis_url: str
) -> None:
    session = await open_session(pipe, SessionConfig(tooling=TOOLS))
    await ask(pipe, session, "Tell me a story.")
    task = asyncio.create_task(start(Storyteller(hold=17), context(pipe, redis_url, "died")).run())

    async def a_segment_is_out() -> bool:
        return len(await jobs_of(pipe, "tts")) > 0

    await until(a_segment_is_out)
    _, begun = await conversation(pipe, session)
    assert begun.status == "in_progress"
    before = text_of(await shown(pipe, session))
    # As kill -9 leaves it: nothing handed on, the lease runs out.
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    successor = Storyteller(calls=[LAMP])
    await answered(pipe, redis_url, successor)
    [prompt] = successor.prompts
    assert (prompt.prefix, prompt.choice) == (before, NamedTool("light_lamp"))
    assert [message.role for message in prompt.messages] == ["system", "user"]
    _, words, call = await conversation(pipe, session)
    assert isinstance(words, Item)
    assert (words.text, words.status) == (STORY, "completed")
    assert (await ending(pipe, session)).calls == [call]
    messages = await shown(pipe, session)
    assert speech_of(await jobs_of(pipe, "tts")) == segments_of(messages)


async def test_a_call_that_the_broker_lost_has_the_same_ids_again(
    pipe: Pipe, redis_url: str
) -> None:
    session = await open_session(pipe)
    job = await ask(pipe, session, "Light the lamp.")
    [(_, fields)] = await pipe.command("XRANGE", session.shard.jobs("llm"), "-", "+")
    await answered(pipe, redis_url, Storyteller(calls=[LAMP], silent=True))
    first = await ending(pipe, session)
    # As a broker leaves it that comes back without its last second.
    await pipe.command("HDEL", session.items, first.calls[0].item_id)
    await pipe.command("LREM", session.order, 1, first.calls[0].item_id)
    await pipe.command("XADD", session.shard.jobs("llm"), "*", *fields)
    await answered(pipe, redis_url, Storyteller(calls=[LAMP], silent=True))
    again = await ending(pipe, session)
    assert again.response_id == job.response_id
    assert again.calls == first.calls
    assert len(await conversation(pipe, session)) == 2


async def test_an_answer_aside_leaves_the_conversation_alone(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    await ask(pipe, session, "Tell me a story.", aside=True)
    await answered(pipe, redis_url, Storyteller(calls=[LAMP]))
    [question] = await conversation(pipe, session)
    assert isinstance(question, Item)
    assert text_of(await shown(pipe, session)) == STORY
    assert [call.name for call in (await ending(pipe, session)).calls] == ["light_lamp"]


async def test_a_response_may_differ_from_its_session(pipe: Pipe, redis_url: str) -> None:
    config = SessionConfig(
        instructions="Be brief.",
        voice="joe",
        max_output_tokens=100,
        truncation=Truncation(retain=0.5),
        tooling=Tooling(tools=[Tool(name="sound_horn")]),
    )
    session = await open_session(pipe, config)
    await ask(
        pipe,
        session,
        "Tell me a story.",
        instructions="Be long.",
        voice="amy",
        max_output_tokens=50,
        tooling=TOOLS,
        input=[Item.of("i9", "user", "Only this.")],
    )
    engine = Storyteller()
    await answered(pipe, redis_url, engine)
    [prompt] = engine.prompts
    assert prompt.messages == [Message("system", "Be long."), Message("user", "Only this.")]
    assert (prompt.tools, prompt.choice, prompt.parallel) == (
        tuple(TOOLS.tools),
        TOOLS.choice,
        False,
    )
    assert (prompt.max_tokens, prompt.truncation) == (50, config.truncation)
    assert {job.voice for job in await jobs_of(pipe, "tts") if isinstance(job, TtsJob)} == {"amy"}


async def test_what_a_response_leaves_open_is_the_sessions(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe, SessionConfig(max_output_tokens=100, tooling=TOOLS))
    await ask(pipe, session, "Tell me a story.")
    engine = Storyteller()
    await answered(pipe, redis_url, engine)
    [prompt] = engine.prompts
    assert (prompt.max_tokens, prompt.choice) == (100, TOOLS.choice)


async def test_what_a_function_returned_is_part_of_the_conversation(
    pipe: Pipe, redis_url: str
) -> None:
    session = await open_session(pipe, SessionConfig(instructions=""))
    for item in (
        Item.of("i1", "user", "Light the lamp."),
        FunctionCall(item_id="i2", call_id="c1", name="light_lamp", arguments="{}"),
        FunctionOutput(item_id="i3", call_id="c1", output="It is lit."),
    ):
        await sessions.add_item(pipe, held(session), item)
    await respond(pipe, session)
    engine = Storyteller()
    await answered(pipe, redis_url, engine)
    [prompt] = engine.prompts
    assert prompt.messages == [
        Message("user", "Light the lamp."),
        Message("assistant", "", calls=(Call("light_lamp", "{}", call_id="c1"),)),
        Message("tool", "It is lit.", name="light_lamp", call_id="c1"),
    ]


@pytest.mark.parametrize("gone", [True, False])
async def test_the_answer_is_to_what_was_there_when_it_began(
    pipe: Pipe, redis_url: str, gone: bool
) -> None:
    session = await open_session(pipe, SessionConfig(instructions=""))
    await respond(pipe, session, input=None)  # to nothing
    late = Item.of("late", "user", "Too late.")
    await sessions.add_item(pipe, held(session), late)
    engine = Storyteller()
    await answered(pipe, redis_url, engine)
    assert engine.prompts[0].messages == []

    session = await open_session(pipe, SessionConfig(instructions=""))
    await sessions.add_item(pipe, held(session), Item.of("i1", "user", "Hello."))
    await ask(pipe, session, "Tell me a story.")
    asked = (await pipe.command("LRANGE", session.order, -1, -1))[0].decode()
    await sessions.add_item(pipe, held(session), late)
    if gone:
        await sessions.delete_item(pipe, held(session), asked)
    await answered(pipe, redis_url, engine)
    said = [message.content for message in engine.prompts[1].messages]
    assert said == (["Hello.", "Too late."] if gone else ["Hello.", "Tell me a story."])


async def test_a_prompt_that_cannot_be_answered_is_tried_once(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    await ask(pipe, session, "Light the lamp.")
    engine = Storyteller(problem=PromptError("tools: there is no lamp"))
    await answered(pipe, redis_url, engine)
    assert len(engine.prompts) == 1
    last = (await shown(pipe, session))[-1]
    assert isinstance(last, ResponseFailed)
    assert last.message == "tools: there is no lamp"
    assert await pipe.command("XLEN", session.shard.dead) == 0
