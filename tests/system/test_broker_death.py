"""The broker goes away while people talk: the sessions go on, and nobody misses or repeats a word.

A broker that is killed has handed to the operating system whatever it acknowledged; what is lost
with the machine's power, `bench/durability.py` measures.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from bench.chaos import system
from bench.chaos.conversation import Conversation
from bench.chaos.system import System
from cli.broker import find_server
from shared.broker import Pipe, connect
from tests.stages import until
from tests.support.sentinels import Sentinels
from tests.support.talking import broker_of, eventually, standing_still, talking

PEOPLE = 4
TURNS = 3
AWAY_S = 5.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="parley-") as name:
        yield Path(name)


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[System]:
    """A gateway and two workers of each stage, none of which may end by itself."""
    surprises: list[str] = []
    async with system.running(
        folder, find_server(), 1, 2, surprises.append, profile="instant", **settings
    ) as served:
        yield served
    assert surprises == []


async def talk_through(served: System, pipe: Pipe, fault: Callable[[], Awaitable[None]]) -> None:
    """People talk, and `fault` happens while all of them are in the middle of it."""
    async with AsyncExitStack() as stack:
        conversations = [
            await stack.enter_async_context(talking(served, pipe, number, TURNS))
            for number in range(PEOPLE)
        ]
        await eventually(lambda: all(map(in_second_turn, conversations)))
        await fault()


def in_second_turn(conversation: Conversation) -> bool:
    return len(conversation.record.exchanges) >= 2


async def test_a_broker_that_is_restarted(folder: Path) -> None:
    async with serving(folder) as served, broker_of(served) as pipe:

        async def restarted() -> None:
            await asyncio.to_thread(served.broker.stop)
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(served.broker.start)

        await talk_through(served, pipe, restarted)


async def test_a_broker_that_is_killed(folder: Path) -> None:
    async with serving(folder) as served, broker_of(served) as pipe:

        async def killed() -> None:
            os.kill(served.broker.pid, signal.SIGKILL)
            served.broker.stop()
            await asyncio.to_thread(served.broker.start)

        await talk_through(served, pipe, killed)


async def test_a_broker_that_pauses(folder: Path) -> None:
    async with serving(folder) as served, broker_of(served) as pipe:

        async def paused() -> None:
            await pipe.command("CLIENT", "PAUSE", int(AWAY_S * 1000))

        await talk_through(served, pipe, paused)


async def test_a_broker_that_is_stopped_and_continued(folder: Path) -> None:
    async with serving(folder) as served, broker_of(served) as pipe:

        async def stopped() -> None:
            with standing_still(served.broker.pid):
                await asyncio.sleep(AWAY_S)

        await talk_through(served, pipe, stopped)


async def test_a_master_that_is_killed_once_its_replica_has_everything(folder: Path) -> None:
    servers_folder = folder / "servers"
    servers_folder.mkdir()
    with Sentinels(find_server(), servers_folder) as servers:

        async def killed() -> None:
            with servers.client(servers.master) as master:
                master.client_pause(30_000, all=False)
                await until(servers.replicated)
            servers.kill(servers.master)

        async with (
            serving(folder, redis_url=servers.url) as served,
            Pipe(connect(servers.url), patient=True) as pipe,
        ):
            await talk_through(served, pipe, killed)


async def test_a_broker_without_memory_for_a_while(folder: Path) -> None:
    async with serving(folder) as served, broker_of(served) as pipe:

        async def full() -> None:
            await pipe.command("CONFIG", "SET", "maxmemory", 1)
            await asyncio.sleep(AWAY_S)
            await pipe.command("CONFIG", "SET", "maxmemory", 0)

        await talk_through(served, pipe, full)


async def test_everybody_stops_when_told_although_the_broker_is_away(folder: Path) -> None:
    async with serving(folder) as served, broker_of(served) as pipe:
        async with talking(served, pipe):
            pass
        served.broker.stop()
