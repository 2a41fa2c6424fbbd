"""Hearing many sessions at once: a step of the model, and a worker's stage around it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.conftest import Run
from cli.broker import Broker
from shared.broker import Pipe, connect
from shared.keys import Keyspace
from shared.lanes import Checkpoint, LaneKeeper, LaneWriter, OwnedLane
from shared.messages import Command, Frame, LaneEntry, decode, encode
from shared.settings import Settings
from shared.worker import Context
from workers.vad.engines import WINDOW, Hearing, VadEngine, create
from workers.vad.listener import Listener
from workers.vad.worker import start

SESSIONS = [1, 8, 32, 128, 512]
KEYSPACE = Keyspace(shards=1, lanes=1)


@pytest.fixture(scope="module")
def hearing() -> Iterator[Hearing]:
    engines = create(Settings(profile="instant", vad_engine="silero"))
    engines.load()
    yield engines
    engines.close()


@pytest.fixture
def engine(hearing: Hearing) -> VadEngine:
    return hearing.vad


@pytest.mark.benchmark(group="VAD, a step for all sessions")
@pytest.mark.parametrize("sessions", SESSIONS)
def test_step(benchmark: BenchmarkFixture, engine: VadEngine, sessions: int) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (sessions, WINDOW)).astype(np.float32)
    states = np.stack([engine.initial_state()] * sessions)
    probabilities, after = benchmark(engine.step, noise, states)
    assert probabilities.shape == (sessions,)
    assert after.shape == states.shape


@pytest.mark.benchmark(group="VAD, decoding a lane's entry")
@pytest.mark.parametrize("frames", [1, 100])
def test_decode(benchmark: BenchmarkFixture, frames: int) -> None:
    records: list[Frame | Command] = [
        Frame(f"sess_{number}", 0, bytes(640), 1) for number in range(frames)
    ]
    entry = benchmark(decode, encode(LaneEntry(records=records)), LaneEntry)
    assert len(entry.records) == frames


class Ear:
    """A lane's stage that only says when it has heard so many records."""

    def __init__(self) -> None:
        self.heard = asyncio.Semaphore(0)

    def adopt(self, lane: OwnedLane, states: Mapping[str, bytes]) -> None:
        pass

    def drop(self, lane: OwnedLane) -> None:
        pass

    async def process(self, entries: Sequence[tuple[OwnedLane, str, LaneEntry]]) -> None:
        for _, _, entry in entries:
            for _ in entry.records:
                self.heard.release()

    async def checkpoint(self, lane: OwnedLane) -> Checkpoint:
        return Checkpoint(lane.read, {})


@asynccontextmanager
async def reading(broker: Broker) -> AsyncIterator[tuple[LaneWriter, Ear]]:
    """A lane that is read, and one who writes to it."""
    ear = Ear()
    async with Pipe(connect(broker.url)) as pipe, connect(broker.url) as reader:
        keeper = LaneKeeper(ear, KEYSPACE, pipe=pipe, reader=reader, owner="vad_1")
        keeping = asyncio.create_task(keeper.run())
        try:
            yield LaneWriter(pipe, KEYSPACE), ear
        finally:
            await keeper.stop()
            await keeping


@pytest.mark.benchmark(group="VAD, from a lane's writer to its reader")
@pytest.mark.parametrize("frames", [1, 100])
def test_lane(benchmark: BenchmarkFixture, run: Run[Any], broker: Broker, frames: int) -> None:
    records = [Frame(f"sess_{number}", 0, bytes(640), 1) for number in range(frames)]
    lane = reading(broker)
    writer, ear = run(lane.__aenter__())

    async def travel() -> None:
        for record in records:
            writer.append(record)
        for _ in records:
            await ear.heard.acquire()

    run(travel())  # the lane is taken first
    benchmark(lambda: run(travel()))
    run(lane.__aexit__(None, None, None))


@pytest.mark.benchmark(group="VAD, a window of all sessions through the stage")
@pytest.mark.parametrize("sessions", SESSIONS)
def test_stage(
    benchmark: BenchmarkFixture, run: Run[Any], broker: Broker, hearing: Hearing, sessions: int
) -> None:
    """Frames of 32 ms, of sessions in which nobody speaks."""
    names = [f"sess_{number}" for number in range(sessions)]
    lane = OwnedLane(KEYSPACE.lane(names[0]), token=1, read="0-0")
    pipe = Pipe(connect(broker.url))
    settings = Settings(redis_url=broker.url, profile="instant", shards=1, lanes=1)
    stage = start(hearing, Context("vad_1", settings, KEYSPACE, pipe))
    fresh = hearing.vad.initial_state()
    stage.adopt(lane, {name: Listener(KEYSPACE.session(name), fresh).state for name in names})
    starts = count(0, WINDOW)

    async def hear() -> None:
        at = next(starts)
        records: list[Frame | Command] = [Frame(name, at, bytes(2 * WINDOW), 1) for name in names]
        await stage.process([(lane, "1-0", LaneEntry(records=records))])

    benchmark(lambda: run(hear()))
    assert stage.load == sessions
    run(pipe.__aexit__(None, None, None))
