"""The pipe: every command gets its own reply, whatever happens to its neighbours."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cli.broker import Broker, find_server
from shared.broker import Pipe, answer, connect
from shared.keys import Keyspace
from shared.messages import SessionConfig
from shared.scripts import sessions
from tests.stages import SOON_S, held


async def test_replies_find_their_commands(pipe: Pipe) -> None:
    replies = await asyncio.gather(*(pipe.command("ECHO", number) for number in range(2000)))
    assert replies == [str(number).encode() for number in range(2000)]


async def test_an_error_is_only_its_own_commands(pipe: Pipe) -> None:
    await pipe.command("SET", "text", "hello", "EX", 60)
    good, bad, also_good = await asyncio.gather(
        pipe.command("ECHO", 1),
        pipe.command("INCR", "text"),
        pipe.command("ECHO", 2),
        return_exceptions=True,
    )
    assert (good, also_good) == (b"1", b"2")
    assert isinstance(bad, ResponseError)


async def test_whoever_stops_waiting_leaves_the_others_their_replies(pipe: Pipe) -> None:
    leaver = asyncio.create_task(pipe.command("ECHO", "leaver"))
    stayer = asyncio.create_task(pipe.command("ECHO", "stayer"))
    await asyncio.sleep(0)
    leaver.cancel()
    assert await stayer == b"stayer"
    with pytest.raises(asyncio.CancelledError):
        await leaver


@pytest.mark.parametrize("waited_for", ["XREAD", "PING"])
async def test_whoever_is_cancelled_at_any_moment_of_a_command_ends(
    redis_url: str, waited_for: str
) -> None:
    async def go_on(client: Redis) -> None:
        while True:
            if waited_for == "PING":
                await answer(client.ping())
            else:
                await answer(client.xread({"nothing": "$"}, block=1))

    async with connect(redis_url) as client:
        await client.ping()
        for steps in range(30):
            task = asyncio.create_task(go_on(client))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            async with asyncio.timeout(SOON_S):
                await asyncio.wait({task})
            assert task.cancelled()


async def test_a_broker_that_forgot_the_scripts_is_taught_again(pipe: Pipe) -> None:
    keyspace = Keyspace(1, 1)

    async def open_session(name: str) -> str:
        keys = keyspace.session(name)
        return await sessions.attach(
            pipe, held(keys), gateway="gw", token="t", config=SessionConfig()
        )

    assert await open_session("sess_1") == "ok"
    await pipe.command("SCRIPT", "FLUSH")
    opened = await asyncio.gather(*(open_session(f"sess_{n}") for n in range(2, 6)))
    assert opened == ["ok"] * 4


async def test_commands_outlive_a_restart_of_the_broker() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="parley-") as folder,
        Broker(find_server(), Path(folder)) as broker,
    ):
        async with Pipe(connect(broker.url)) as pipe:
            await pipe.command("CONFIG", "SET", "appendfsync", "always")
            await pipe.command("SET", "kept", "yes")
            broker.stop()
            waiting = asyncio.create_task(pipe.command("GET", "kept"))
            await asyncio.to_thread(broker.start)
            assert await asyncio.wait_for(waiting, 30) == b"yes"
