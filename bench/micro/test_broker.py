"""The ways to the broker and back: one pipeline for all of a process, lanes, followed sessions."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.conftest import Run
from cli.broker import Broker
from gateway.follower import Follower
from shared.broker import Pipe, connect
from shared.ids import new_id
from shared.keys import Keyspace, SessionKeys
from shared.lanes import LaneWriter
from shared.messages import Frame, TextDelta, encode

KEYSPACE = Keyspace(shards=1, lanes=8)
GATEWAY = "gw_micro"
_TTL_S = 60


@pytest.fixture
def pipe(run: Run[Any], broker: Broker) -> Iterator[Pipe]:
    opened = Pipe(connect(broker.url))
    yield opened
    run(opened.__aexit__())


def repeated(
    benchmark: BenchmarkFixture, run: Run[Any], work: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """What `work` comes to, timed on one loop."""
    return benchmark(lambda: run(work()))


@pytest.mark.benchmark(group="commands at once, in one pipeline")
@pytest.mark.parametrize("commands", [1, 10, 100])
def test_pipe(benchmark: BenchmarkFixture, run: Run[Any], pipe: Pipe, commands: int) -> None:
    async def ask() -> list[Any]:
        return await asyncio.gather(*(pipe.command("PING") for _ in range(commands)))

    assert repeated(benchmark, run, ask) == [b"PONG"] * commands


@pytest.mark.benchmark(group="frames at once, to eight lanes")
@pytest.mark.parametrize("sessions", [1, 10, 100])
def test_lane_writer(benchmark: BenchmarkFixture, run: Run[Any], pipe: Pipe, sessions: int) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    frames = [Frame(new_id("sess"), 0, bytes(640), 0) for _ in range(sessions)]

    async def write() -> None:
        for frame in frames:
            writer.append(frame)
        await writer.flush()

    repeated(benchmark, run, write)
    assert writer.waiting_bytes == 0


@pytest.mark.benchmark(group="a message to each of the sessions followed")
@pytest.mark.parametrize("sessions", [1, 10, 100])
def test_follower(
    benchmark: BenchmarkFixture, run: Run[Any], broker: Broker, pipe: Pipe, sessions: int
) -> None:
    """From the messages' way into the broker to their being there."""
    followed = [KEYSPACE.session(new_id("sess")) for _ in range(sessions)]
    message = TextDelta(response_id=new_id("resp"), segment=0, at=0, text="Paris")

    subscriber = connect(broker.url)

    async def begin() -> tuple[Follower, asyncio.Task[None]]:
        follower = Follower(pipe, subscriber, KEYSPACE, GATEWAY)
        following = asyncio.create_task(follower.run())
        await follower.listening.wait()
        return follower, following

    follower, following = run(begin())
    inboxes = [follower.follow(keys) for keys in followed]

    async def tell(keys: SessionKeys) -> None:
        await asyncio.gather(
            pipe.command("XADD", keys.out, "MAXLEN", "~", 100, "*", "m", encode(message)),
            pipe.command("EXPIRE", keys.out, _TTL_S),
            pipe.command("PUBLISH", keys.shard.doorbell(GATEWAY), keys.session_id),
        )

    async def pass_on() -> list[Any]:
        await asyncio.gather(*map(tell, followed))
        return [(await inbox.get())[1] for inbox in inboxes]

    async def end() -> None:
        following.cancel()
        await asyncio.wait({following})
        await subscriber.aclose()

    try:
        assert repeated(benchmark, run, pass_on) == [message] * sessions
    finally:
        run(end())
