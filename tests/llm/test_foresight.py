"""Answers begun before it is certain that they are asked for."""

import pytest
from redis.asyncio import Redis

from shared.broker import Pipe
from shared.keys import SessionKeys
from shared.messages import Item, LlmHint, SessionConfig, TtsHint, TtsJob, TurnDetection, decode
from shared.scripts import sessions
from tests.llm.storyteller import STORY, Storyteller, text_of
from tests.stages import (
    ask,
    context,
    done,
    held,
    hinted,
    jobs_of,
    next_message,
    open_session,
    shown,
    until,
    working,
)
from workers.llm.engines import Prompt
from workers.llm.worker import start

QUESTION = "Tell me a story."


def probably(session: SessionKeys, text: str = QUESTION) -> LlmHint:
    return LlmHint(session_id=session.session_id, text=text)


def questions(prompts: list[Prompt]) -> list[list[str]]:
    return [[m.content for m in prompt.messages if m.role == "user"] for prompt in prompts]


async def test_an_answer_that_was_begun_is_not_begun_again(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe, SessionConfig(voice="joe", speed=1.2, output_rate=8000))
    await sessions.add_item(pipe, held(session), Item.of("item_0", "user", "Are you there?"))
    engine = Storyteller()
    async with Redis.from_url(redis_url) as client, client.pubsub() as ears:
        await ears.subscribe(session.shard.hints("tts"))
        async with working(start(engine, context(pipe, redis_url))):
            await until(lambda: hinted(pipe, "llm", probably(session)))
            hint = decode(await next_message(ears), TtsHint)
            await ask(pipe, session, QUESTION, output_rate=8000)
            await until(lambda: done(pipe, "llm"))
    assert questions(engine.prompts) == [["Are you there?", QUESTION]]
    assert text_of(await shown(pipe, session)) == STORY
    expected = next(job for job in await jobs_of(pipe, "tts") if isinstance(job, TtsJob))
    assert hint == TtsHint(
        session_id=expected.session_id,
        text=expected.text,
        voice=expected.voice,
        speed=expected.speed,
        sample_rate=expected.sample_rate,
        language=expected.language,
    )


async def test_what_was_said_otherwise_is_answered_as_it_was_said(
    pipe: Pipe, redis_url: str
) -> None:
    session, engine = await open_session(pipe), Storyteller()
    async with working(start(engine, context(pipe, redis_url))):
        await until(lambda: hinted(pipe, "llm", probably(session, "Tell me")))
        await until(lambda: len(engine.prompts) == 1)
        await ask(pipe, session, QUESTION)
        await until(lambda: done(pipe, "llm"))
    assert questions(engine.prompts) == [["Tell me"], [QUESTION]]
    assert text_of(await shown(pipe, session)) == STORY


@pytest.mark.parametrize(
    "config",
    [
        SessionConfig(responds=False),
        SessionConfig(turn_detection=None),
        SessionConfig(turn_detection=TurnDetection(create_response=False)),
    ],
)
async def test_a_session_that_answers_when_it_is_told_has_nothing_begun(
    pipe: Pipe, redis_url: str, config: SessionConfig
) -> None:
    silent, other = await open_session(pipe, config), await open_session(pipe)
    engine = Storyteller()
    async with working(start(engine, context(pipe, redis_url))):
        await until(lambda: hinted(pipe, "llm", probably(silent, "Nothing.")))
        await until(lambda: hinted(pipe, "llm", probably(other)))
        await until(lambda: len(engine.prompts) > 0)
    assert questions(engine.prompts) == [[QUESTION]]


async def test_what_a_session_brings_is_read_before_its_first_turn(
    pipe: Pipe, redis_url: str
) -> None:
    session = await open_session(pipe, SessionConfig(instructions="You are a lighthouse."))
    await sessions.add_item(pipe, held(session), Item.of("item_0", "user", "Are you there?"))
    engine = Storyteller()
    async with working(start(engine, context(pipe, redis_url))):
        await until(lambda: hinted(pipe, "llm", LlmHint(session_id=session.session_id)))
        await until(lambda: len(engine.read) == 1)
    assert engine.prompts == []
    [read] = engine.read
    assert [m.content for m in read.messages] == ["You are a lighthouse.", "Are you there?"]


async def test_what_is_being_read_is_not_read_again(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe, SessionConfig(instructions="You are a lighthouse."))
    other = await open_session(pipe, SessionConfig(instructions="You are a ship."))
    engine = Storyteller()
    engine.reading.clear()
    async with working(start(engine, context(pipe, redis_url))):
        await until(lambda: hinted(pipe, "llm", LlmHint(session_id=session.session_id)))
        await until(lambda: len(engine.read) == 1)
        await hinted(pipe, "llm", LlmHint(session_id=session.session_id))
        await hinted(pipe, "llm", LlmHint(session_id=other.session_id))
        await until(lambda: len(engine.read) == 2)
        engine.reading.set()
    told = [prompt.messages[0].content for prompt in engine.read]
    assert told == ["You are a lighthouse.", "You are a ship."]


async def test_other_words_are_answered_in_the_place_of_those_before(
    pipe: Pipe, redis_url: str
) -> None:
    session, engine = await open_session(pipe), Storyteller(hold=3)
    async with working(start(engine, context(pipe, redis_url))):
        await until(lambda: hinted(pipe, "llm", probably(session, "Tell me")))
        await until(lambda: len(engine.prompts) == 1)
        await ask(pipe, session, QUESTION)
        await until(lambda: len(engine.prompts) == 2)
        assert engine.at_work == 1
        engine.released.set()
        await until(lambda: done(pipe, "llm"))
