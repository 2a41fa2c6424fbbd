"""What tests of the stages share: a session on a real broker, and a worker around a stage."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio.client import PubSub

from shared.broker import Pipe, fields_of
from shared.ids import new_id
from shared.keys import Keyspace, SessionKeys
from shared.messages import (
    Hint,
    Item,
    ItemAdded,
    LlmJob,
    Message,
    ResponseCreated,
    SessionConfig,
    decode,
    encode,
)
from shared.scripts import sessions
from shared.scripts.jobs import NewResponse
from shared.scripts.sessions import Attachment
from shared.settings import Settings
from shared.worker import Context, Running

KEYSPACE = Keyspace(shards=1, lanes=1)
SOON_S = 10.0


def context(pipe: Pipe, url: str, name: str = "worker_1") -> Context:
    """What a worker gives its stage, on the broker at `url`."""
    settings = Settings(redis_url=url, profile="instant", shards=1, lanes=1)
    return Context(name, settings, KEYSPACE, pipe)


@asynccontextmanager
async def working(running: Running) -> AsyncIterator[None]:
    """A stage at work; it is drained at the end of the block."""
    task = asyncio.create_task(running.run())
    try:
        yield
        await running.stop()
        await asyncio.wait_for(task, SOON_S)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def open_session(pipe: Pipe, config: SessionConfig | None = None) -> SessionKeys:
    """A new session of gateway `gw`."""
    session = KEYSPACE.session(new_id("sess"))
    config = config or SessionConfig()
    await sessions.attach(pipe, held(session), gateway="gw", token="t", config=config)
    return session


def held(session: SessionKeys) -> Attachment:
    """The hold that the tests' gateway has on a session."""
    return Attachment(session, "att")


async def ask(pipe: Pipe, session: SessionKeys, question: str, **wishes: Any) -> LlmJob:
    """Puts a question into the conversation and begins a response to it; `wishes` are its job's."""
    item = Item.of(item_id=new_id("item"), role="user", text=question)
    await sessions.add_item(pipe, held(session), item)
    return await respond(pipe, session, **wishes)


async def respond(pipe: Pipe, session: SessionKeys, **wishes: Any) -> LlmJob:
    """Begins a response to the conversation as it is."""
    response_id, item_id = new_id("resp"), new_id("item")
    job = LlmJob(session_id=session.session_id, response_id=response_id, item_id=item_id, **wishes)
    created = ResponseCreated(
        response_id=response_id, item_id=item_id, modality="audio", aside=job.aside
    )
    response = NewResponse(response_id, created, job)
    assert await sessions.create_response(pipe, held(session), response) == "ok"
    return job


async def shown(pipe: Pipe, session: SessionKeys) -> list[Message]:
    """Everything the stages gave the session's gateway so far."""
    reply = await pipe.command("XRANGE", session.out, "-", "+")
    messages = [decode(fields_of(fields)[b"m"], Message) for _, fields in reply]
    return [message for message in messages if not isinstance(message, ItemAdded)]


async def jobs_of(pipe: Pipe, stage: str) -> list[Message]:
    """The jobs in a stage's stream."""
    reply = await pipe.command("XRANGE", KEYSPACE.all_shards()[0].jobs(stage), "-", "+")
    return [decode(fields_of(fields)[b"m"], Message) for _, fields in reply]


async def hinted(pipe: Pipe, stage: str, hint: Hint) -> bool:
    """Gives a stage a hint; whether somebody heard it."""
    channel = KEYSPACE.session(hint.session_id).shard.hints(stage)
    return int(await pipe.command("PUBLISH", channel, encode(hint))) > 0


async def next_message(ears: PubSub) -> bytes:
    """What is published next on the channels that are listened to."""
    async with asyncio.timeout(SOON_S):
        async for message in ears.listen():
            if message["type"] == "message":
                data: bytes = message["data"]
                return data
    raise AssertionError("the subscription ended")


async def until(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    """Waits for something in the broker or in another task, neither of which can call back."""
    async with asyncio.timeout(SOON_S):
        while not await _holds(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _holds(condition: Callable[[], Awaitable[bool] | bool]) -> bool:
    holds = condition()
    return holds if isinstance(holds, bool) else await holds


async def done(pipe: Pipe, stage: str) -> bool:
    """Whether a stage has no job left."""
    return int(await pipe.command("XLEN", KEYSPACE.all_shards()[0].jobs(stage))) == 0
