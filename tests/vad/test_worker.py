"""The VAD stage on a real broker: lanes in, turns out, whoever owns the lane."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import numpy as np
import pytest

from shared import heartbeat, lanes
from shared.audio import SAMPLE_RATE, Float32, Int16
from shared.broker import Pipe
from shared.heartbeat import WorkerInfo
from shared.keys import SessionKeys
from shared.lanes import LaneWriter, OwnedLane
from shared.messages import (
    Command,
    Committed,
    Frame,
    Item,
    LaneEntry,
    SessionConfig,
    SpeechStarted,
    SpeechStopped,
    SttJob,
    TurnDetection,
    decode,
)
from shared.scripts import sessions
from shared.settings import Settings
from tests.stages import (
    KEYSPACE,
    ask,
    context,
    held,
    jobs_of,
    open_session,
    shown,
    until,
    working,
)
from workers.vad.engines import Hearing, TurnEngine, VadEngine, create
from workers.vad.engines.energy import EnergyEngine
from workers.vad.engines.length import LengthEngine
from workers.vad.worker import VadStage, start

CONFIG = SessionConfig(turn_detection=TurnDetection(silence_ms=300))


def turn(seconds: float) -> Int16:
    """Sound of a length, and the silence that ends it."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = 8000 * np.sin(2 * np.pi * 220 * times)
    return np.concatenate([sound, np.zeros(SAMPLE_RATE // 2)]).astype(np.int16)


def write(writer: LaneWriter, session: SessionKeys, audio: Int16, at: int = 0) -> int:
    """Appends `audio` in frames of 20 ms; returns where it ends."""
    for start_at in range(0, len(audio), 320):
        piece = audio[start_at : start_at + 320]
        writer.append(Frame(session.session_id, at + start_at, piece.tobytes(), 1))
    return at + len(audio)


def opened(session: SessionKeys, config: SessionConfig = CONFIG) -> Command:
    return Command(session.session_id, 0, "open", config.turn_detection)


class LargerEngine(EnergyEngine):
    """Another engine: its state is not one of `EnergyEngine`'s."""

    STATE = 3

    def step(self, audio: Float32, state: Float32) -> tuple[Float32, Float32]:
        assert state.shape == (len(audio), self.STATE)
        probabilities, levels = super().step(audio, state[:, :1])
        return probabilities, np.repeat(levels, self.STATE, axis=1)


@asynccontextmanager
async def listening(
    pipe: Pipe,
    url: str,
    name: str = "vad_1",
    engine: VadEngine | None = None,
    turns: TurnEngine | None = None,
) -> AsyncIterator[VadStage]:
    info = WorkerInfo(worker_id=name, stage="vad", ready=True)
    await heartbeat.sign_in(pipe, info)
    hearing = Hearing(engine or EnergyEngine(), turns or LengthEngine())
    stage = start(hearing, context(pipe, url, name))
    try:
        async with working(stage):
            yield stage
    finally:
        await heartbeat.sign_off(pipe, name)


async def kinds(pipe: Pipe, session: SessionKeys) -> list[str]:
    return [type(message).__name__ for message in await shown(pipe, session)]


TURN = ["SpeechStarted", "SpeechStopped", "Committed"]


async def test_each_session_gets_its_own_turns(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    made = [await open_session(pipe, CONFIG) for _ in range(8)]
    for number, session in enumerate(made):
        writer.append(opened(session))
        write(writer, session, turn(0.5 + 0.1 * number))

    async def all_heard() -> bool:
        return len(await jobs_of(pipe, "stt")) == len(made)

    async with listening(pipe, redis_url) as stage:
        await until(all_heard)
        assert stage.load == len(made)
    lengths = {
        job.session_id: len(job.pcm) / 2 / SAMPLE_RATE
        for job in await jobs_of(pipe, "stt")
        if isinstance(job, SttJob)
    }
    for number, session in enumerate(made):
        assert await kinds(pipe, session) == TURN
        # the speech, a tail of 200 ms, and what a window adds at its edges
        assert lengths[session.session_id] == pytest.approx(0.72 + 0.1 * number, abs=0.05)
        started, stopped, committed = await shown(pipe, session)
        assert isinstance(started, SpeechStarted)
        assert isinstance(stopped, SpeechStopped)
        assert isinstance(committed, Committed)
        saved = await pipe.command("HGET", session.items, committed.item_id)
        item = decode(saved, Item)
        assert (item.role, item.status, item.text) == ("user", "in_progress", None)


async def test_a_successor_goes_on_in_the_middle_of_a_word(
    pipe: Pipe, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_CHECKPOINT_S", 0.1)
    writer = LaneWriter(pipe, KEYSPACE)
    session = await open_session(pipe, CONFIG)
    writer.append(opened(session))
    first, second = turn(1.0), turn(0.8)
    half = len(first) // 3
    write(writer, session, first[:half])

    async def begun() -> bool:
        return await kinds(pipe, session) == TURN[:1]

    async def checkpointed() -> bool:
        lane = KEYSPACE.lane(session.session_id)
        return bool(await pipe.command("HEXISTS", lane.checkpoint, "@"))

    died = start(create(Settings(profile="instant")), context(pipe, redis_url, "died"))
    task = asyncio.create_task(died.run())
    await until(begun)
    await until(checkpointed)
    task.cancel()  # as kill -9 leaves it
    await asyncio.gather(task, return_exceptions=True)

    at = write(writer, session, first[half:], half)
    write(writer, session, second, at)

    async def both_heard() -> bool:
        return len(await jobs_of(pipe, "stt")) == 2

    async with listening(pipe, redis_url, "successor"):
        await until(both_heard)
    assert await kinds(pipe, session) == TURN * 2
    jobs = [job for job in await jobs_of(pipe, "stt") if isinstance(job, SttJob)]
    said = np.frombuffer(jobs[0].pcm, np.int16)
    assert np.array_equal(said[:SAMPLE_RATE], first[:SAMPLE_RATE])


@pytest.mark.parametrize("engine", [EnergyEngine(), LargerEngine()])
async def test_a_draining_worker_hands_its_lanes_over(
    pipe: Pipe, redis_url: str, engine: VadEngine
) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    session = await open_session(pipe, CONFIG)
    writer.append(opened(session))
    audio = turn(1.0)
    half = len(audio) // 3
    async with listening(pipe, redis_url, "first"):
        write(writer, session, audio[:half])

        async def begun() -> bool:
            return await kinds(pipe, session) == TURN[:1]

        await until(begun)
    lane = KEYSPACE.lane(session.session_id)
    assert await pipe.command("EXISTS", lane.lease) == 0
    write(writer, session, audio[half:], half)

    async def heard() -> bool:
        return await kinds(pipe, session) == TURN

    async with listening(pipe, redis_url, "second", engine):
        await until(heard)


async def test_a_session_whose_beginning_is_lost_is_recalled(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    session = await open_session(pipe, CONFIG)
    await pipe.command("HSET", session.state, "vad_seq", 7)
    write(writer, session, turn(0.5), at=320_000)

    async def heard() -> bool:
        return await kinds(pipe, session) == TURN

    async with listening(pipe, redis_url):
        await until(heard)
    assert int(await pipe.command("HGET", session.state, "vad_seq")) == 9


async def test_sessions_that_end_are_forgotten(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    closed, expired = await open_session(pipe, CONFIG), await open_session(pipe, CONFIG)
    for session in (closed, expired):
        writer.append(opened(session))
    async with listening(pipe, redis_url) as stage:
        await until(lambda: stage.load == 2)
        writer.append(Command(closed.session_id, 0, "close"))
        await until(lambda: stage.load == 1)
        await sessions.close(pipe, held(expired))
        write(writer, expired, turn(0.5))
        await until(lambda: stage.load == 0)
    lane = KEYSPACE.lane(closed.session_id)
    assert await pipe.command("HKEYS", lane.checkpoint) == [b"@"]


@pytest.mark.parametrize("action", ["open", "configure"])
async def test_a_lane_that_was_lost_since_it_was_read_is_not_listened_to(
    pipe: Pipe, redis_url: str, action: Literal["open", "configure"]
) -> None:
    session = await open_session(pipe, CONFIG)
    lane = OwnedLane(KEYSPACE.lane(session.session_id), token=1, read="1-0")
    entry = LaneEntry(records=[Command(session.session_id, 0, action, CONFIG.turn_detection)])
    stage = start(create(Settings(profile="instant")), context(pipe, redis_url, "vad_1"))
    await stage.process([(lane, "1-0", entry)])
    assert stage.load == 0


async def test_speech_interrupts_the_answer(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    session = await open_session(pipe, CONFIG)
    await ask(pipe, session, "Tell me a story.")
    writer.append(opened(session))
    write(writer, session, turn(0.5))

    async def heard() -> bool:
        return len(await kinds(pipe, session)) == 5

    async with listening(pipe, redis_url):
        await until(heard)
    assert await kinds(pipe, session) == [
        "ResponseCreated",
        "SpeechStarted",
        "Interrupted",
        "SpeechStopped",
        "Committed",
    ]
    assert await pipe.command("HMGET", session.state, "epoch", "response") == [b"1", b""]
