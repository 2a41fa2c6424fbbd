"""Workers whose clocks are an hour off, half of them ahead and half behind: nobody notices."""

import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bench.chaos import system
from bench.chaos.system import DRAINED_S, System
from cli.broker import find_server
from shared.broker import Pipe
from shared.profiles import STAGES, Stage
from tests.support.talking import (
    KEYSPACE,
    broker_of,
    evenly_spread,
    eventually,
    talking,
    workers_of,
)

HOUR_S = 3600

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A gateway whose clock is right and two workers of each stage whose clocks are not."""
    folder = tmp_path_factory.mktemp("s")
    surprises: list[str] = []
    paced = {"profile": "paced"}
    async with system.running(folder, find_server(), 1, 2, surprises.append, **paced) as running:
        for stage in STAGES:
            for process, shift_s in zip(running.of(stage), (HOUR_S, -HOUR_S), strict=True):
                skewed = [sys.executable, "-m", "tests.support.skewed", str(shift_s)]
                process.command = [*skewed, f"workers.{stage}"]
                process.signal(signal.SIGTERM)
                assert await process.ended(DRAINED_S)
        async with broker_of(running) as pipe:
            await eventually(lambda: all_live(running, pipe))
            await eventually(lambda: evenly_spread(pipe))
        yield running
    assert surprises == []


async def all_live(served: System, pipe: Pipe) -> bool:
    """Whether each worker has signed in within the last second, by the broker's clock."""
    for stage in STAGES:
        signed_in = await workers_of(pipe, stage, within_ms=1_000)
        ready = {worker.pid for worker in signed_in.values() if worker.ready}
        if ready != {process.pid for process in served.of(stage)}:
            return False
    return True


async def lane_tokens(pipe: Pipe) -> list[bytes | None]:
    """What shows whether a lane has changed hands."""
    tokens: list[bytes | None] = await pipe.command(
        "MGET", *(lane.fence for lane in KEYSPACE.all_lanes())
    )
    return tokens


async def test_turns_complete_and_no_lease_is_mistaken(served: System) -> None:
    async with broker_of(served) as pipe:
        before = await lane_tokens(pipe)
        async with talking(served, pipe, turns=3):
            pass
        assert await lane_tokens(pipe) == before
        await eventually(lambda: all_live(served, pipe))
    for stage in STAGES:
        for process in served.of(stage):
            assert "took over" not in process.log.read_text()


@pytest.mark.parametrize("stage", STAGES)
async def test_a_worker_that_dies_is_missed_at_once(served: System, stage: Stage) -> None:
    async with broker_of(served) as pipe, talking(served, pipe) as conversation:
        await eventually(lambda: bool(conversation.record.exchanges))
        for process in served.of(stage)[:1]:
            process.signal(signal.SIGKILL)
            assert await process.ended(DRAINED_S)
