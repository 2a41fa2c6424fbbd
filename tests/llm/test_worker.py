"""The LLM stage: segments go out while the answer is written; a successor goes on with it."""

import asyncio

import pytest

from shared.broker import Pipe
from shared.messages import (
    Item,
    ResponseCreated,
    SessionConfig,
    TextDone,
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
    shown,
    until,
    working,
)
from workers.llm.worker import start


async def test_an_answer_is_shown_spoken_and_kept(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe, SessionConfig(voice="joe", speed=1.2))
    job = await ask(pipe, session, "Tell me a story.", output_rate=8000)
    async with working(start(Storyteller(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "llm"))
    messages = await shown(pipe, session)
    created, *_, last = messages
    assert isinstance(created, ResponseCreated)
    assert text_of(messages) == STORY
    speech = await jobs_of(pipe, "tts")
    assert speech_of(speech) == segments_of(messages)
    assert {(j.voice, j.speed, j.sample_rate) for j in speech if isinstance(j, TtsJob)} == {
        ("joe", 1.2, 8000)
    }
    assert isinstance(last, TextDone)
    assert (last.segments, last.finish, last.input_tokens) == (len(speech), "stop", 7)
    assert {"llm_start", "llm_first_token", "llm_first_segment"} <= last.marks.keys()
    item = decode(await pipe.command("HGET", session.items, job.item_id), Item)
    assert (item.text, item.status, item.role) == (STORY, "completed", "assistant")


async def test_a_segment_is_spoken_while_the_rest_is_still_being_written(
    pipe: Pipe, redis_url: str
) -> None:
    engine = Storyteller(hold=16)
    session = await open_session(pipe)
    await ask(pipe, session, "Tell me a story.")

    async def first_is_spoken() -> bool:
        return len(await jobs_of(pipe, "tts")) > 0

    async with working(start(engine, context(pipe, redis_url))):
        await until(first_is_spoken)
        assert STORY.startswith(text_of(await shown(pipe, session)))
        assert text_of(await shown(pipe, session)) != STORY
        engine.released.set()
        await until(lambda: done(pipe, "llm"))


async def test_a_successor_goes_on_where_the_text_ends(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    await ask(pipe, session, "Tell me a story.")
    stuck = Storyteller(hold=17)
    died = start(stuck, context(pipe, redis_url, "died"))
    task = asyncio.create_task(died.run())

    async def a_segment_is_out() -> bool:
        return len(await jobs_of(pipe, "tts")) > 0

    await until(a_segment_is_out)
    before = text_of(await shown(pipe, session))
    # As kill -9 leaves it: nothing handed on, the lease runs out.
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    successor = Storyteller()
    async with working(start(successor, context(pipe, redis_url, "successor"))):
        await until(lambda: done(pipe, "llm"))
    assert [prompt.prefix for prompt in successor.prompts] == [before]
    messages = await shown(pipe, session)
    assert text_of(messages) == STORY
    assert speech_of(await jobs_of(pipe, "tts")) == segments_of(messages)
    last = messages[-1]
    assert isinstance(last, TextDone)
    assert last.segments == len(segments_of(messages))


async def test_text_that_the_broker_lost_is_written_again(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    job = await ask(pipe, session, "Tell me a story.")
    engine = Storyteller(hold=17)

    async def a_segment_is_out() -> bool:
        return len(await jobs_of(pipe, "tts")) > 0

    async with working(start(engine, context(pipe, redis_url))):
        await until(a_segment_is_out)
        # As a broker leaves it that comes back without its last second.
        kept = "Once there was "
        response = session.response(job.response_id)
        await pipe.command("HSET", response, "text", kept, "segments", 0)
        engine.released.set()
        await until(lambda: done(pipe, "llm"))
    assert [prompt.prefix for prompt in engine.prompts] == ["", kept]
    item = decode(await pipe.command("HGET", session.items, job.item_id), Item)
    assert item.text == STORY


async def test_history_comes_in_order_without_what_has_no_words(pipe: Pipe, redis_url: str) -> None:
    engine = Storyteller()
    session = await open_session(pipe, SessionConfig(instructions="Be brief."))
    for item in (
        Item.of(item_id="i1", role="user", text="Hello."),
        Item.of(item_id="i2", role="assistant", text="Hi, what is it?"),
        Item.of(item_id="i3", role="user", status="in_progress", modality="audio"),
    ):
        await sessions.add_item(pipe, held(session), item)
    await ask(pipe, session, "Tell me a story.")
    late = Item.of(item_id="i5", role="user", text="Too late.")
    await sessions.add_item(pipe, held(session), late)
    async with working(start(engine, context(pipe, redis_url))):
        await until(lambda: done(pipe, "llm"))
    [prompt] = engine.prompts
    assert [(message.role, message.content) for message in prompt.messages] == [
        ("system", "Be brief."),
        ("user", "Hello."),
        ("assistant", "Hi, what is it?"),
        ("user", "Tell me a story."),
    ]


@pytest.mark.parametrize(
    ("given", "first"), [(None, "system"), ("", "user"), ("Be brief.", "system")]
)
async def test_instructions_are_the_sessions_unless_it_brings_none(
    pipe: Pipe, redis_url: str, given: str | None, first: str
) -> None:
    engine = Storyteller()
    session = await open_session(pipe, SessionConfig(instructions=given))
    await ask(pipe, session, "Tell me a story.")
    worker = context(pipe, redis_url)
    async with working(start(engine, worker)):
        await until(lambda: done(pipe, "llm"))
    message = engine.prompts[0].messages[0]
    assert message.role == first
    if first == "system":
        assert message.content == (given or worker.settings.instructions)


async def test_an_answer_in_text_is_not_spoken(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe, SessionConfig(modality="text"))
    await ask(pipe, session, "Tell me a story.")
    async with working(start(Storyteller(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "llm"))
    assert await jobs_of(pipe, "tts") == []
    last = (await shown(pipe, session))[-1]
    assert isinstance(last, TextDone)
    assert last.segments == 0


async def test_an_interruption_stops_the_answer(pipe: Pipe, redis_url: str) -> None:
    engine = Storyteller(hold=16)
    session = await open_session(pipe)
    await ask(pipe, session, "Tell me a story.")

    async def begun() -> bool:
        return bool(text_of(await shown(pipe, session)))

    async with working(start(engine, context(pipe, redis_url))):
        await until(begun)
        assert await sessions.interrupt(pipe, held(session)) == "ok"
        await until(lambda: done(pipe, "llm"))  # though the engine was never released
    kinds = [type(message).__name__ for message in await shown(pipe, session)]
    assert kinds[-1] == "Interrupted"
    assert "TextDone" not in kinds
