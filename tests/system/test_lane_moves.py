"""Lanes spread evenly over VAD workers that come and go, while people talk: each frame is heard
once, whoever hears it."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from bench.chaos import system
from bench.chaos.system import System
from cli.broker import find_server
from shared.broker import Pipe
from tests.support.talking import (
    broker_of,
    eventually,
    lane_owners,
    one_more,
    talking,
    workers_of,
)

PEOPLE = 12
TURNS = 8
INSTANT = {"profile": "instant"}

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """One worker of each stage; engines that take no time."""
    folder = tmp_path_factory.mktemp("s")
    surprises: list[str] = []
    async with system.running(folder, find_server(), 1, 1, surprises.append, **INSTANT) as running:
        yield running
    assert surprises == []


async def spread(pipe: Pipe, *lanes: int) -> None:
    """Waits until the VAD workers alive own so many lanes each, whoever owns how many."""

    async def holds() -> bool:
        owners = Counter(await lane_owners(pipe))
        alive = await workers_of(pipe, "vad")
        return sorted(owners.values()) == sorted(lanes) and owners.keys() <= alive.keys()

    await eventually(holds)


async def test_every_frame_is_heard_once_wherever_its_lane_goes(
    served: System, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        pipe = await stack.enter_async_context(broker_of(served))
        talks = [
            await stack.enter_async_context(talking(served, pipe, number, TURNS))
            for number in range(PEOPLE)
        ]

        async def all_are_at(turn: int) -> None:
            await eventually(lambda: all(len(t.record.exchanges) > turn for t in talks))

        await spread(pipe, 8)
        await all_are_at(1)
        killed = await stack.enter_async_context(
            one_more(served, "vad", tmp_path / "one.log", **INSTANT)
        )
        drained = await stack.enter_async_context(
            one_more(served, "vad", tmp_path / "two.log", **INSTANT)
        )
        await spread(pipe, 3, 3, 2)
        await all_are_at(3)
        killed.kill()
        await killed.wait()
        await spread(pipe, 4, 4)
        await all_are_at(5)
        drained.terminate()
        assert await drained.wait() == 0
        await spread(pipe, 8)
