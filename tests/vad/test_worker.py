"""The VAD stage on a real broker: lanes in, turns out, whoever owns the lane."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from shared import lanes
from shared.audio import SAMPLE_RATE, Float32, Int16
from shared.broker import Pipe
from shared.lanes import LaneWriter, OwnedLane
from shared.messages import (
    Command,
    Committed,
    Item,
    LaneEntry,
    ListenerState,
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
    SOON_S,
    ask,
    context,
    held,
    jobs_of,
    open_session,
    shown,
    until,
)
from tests.vad.listening import CONFIG, TURN, kinds, listening, opened, turn, write
from workers.vad.engines import Hearing, VadEngine, create
from workers.vad.engines.energy import EnergyEngine
from workers.vad.engines.length import LengthEngine
from workers.vad.worker import start


class LargerEngine(EnergyEngine):
    """Another engine: its state is not one of `EnergyEngine`'s."""

    STATE = 3

    def step(self, audio: Float32, state: Float32) -> tuple[Float32, Float32]:
        assert state.shape == (len(audio), self.STATE)
        probabilities, levels = super().step(audio, state[:, :1])
        return probabilities, np.repeat(levels, self.STATE, axis=1)


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
        # the speech, a tail of 128 ms, and what a window adds at its edges
        assert lengths[session.session_id] == pytest.approx(0.648 + 0.1 * number, abs=0.05)
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


# --- turns that a model ends ---

SEMANTIC = SessionConfig(turn_detection=TurnDetection(eagerness="low"))


class HeldEngine(LengthEngine):
    """Answers when it is let, and remembers how many turns it was asked about at once."""

    batch = 2

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[int] = []

    def over(self, turns: Sequence[Int16]) -> Float32:
        self.asked.append(len(turns))
        self.released.wait(SOON_S)
        return super().over(turns)


async def test_a_model_ends_turns_while_others_are_heard(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    asking = [await open_session(pipe, SEMANTIC) for _ in range(5)]
    other = await open_session(pipe, CONFIG)
    for session in asking:
        writer.append(opened(session, SEMANTIC))
        write(writer, session, turn(0.8))
    engine = HeldEngine()

    async def heard() -> bool:
        return await kinds(pipe, other) == TURN

    async def all_heard() -> bool:
        return len(await jobs_of(pipe, "stt")) == 6

    async with listening(pipe, redis_url, turns=engine):
        await until(lambda: len(engine.asked) == 1)
        writer.append(opened(other))
        write(writer, other, turn(0.5))
        await until(heard)
        for session in asking:
            assert await kinds(pipe, session) == TURN[:1]
        engine.released.set()
        await until(all_heard)
    for session in asking:
        assert await kinds(pipe, session) == TURN
    assert sum(engine.asked) == 5
    assert max(engine.asked) == 2


async def test_a_successor_asks_again_and_carries_out_what_waited_for_the_answer(
    pipe: Pipe, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_CHECKPOINT_S", 0.1)
    writer = LaneWriter(pipe, KEYSPACE)
    session = await open_session(pipe, SEMANTIC)
    writer.append(opened(session, SEMANTIC))
    at = write(writer, session, turn(0.8))
    engine = HeldEngine()
    lane = KEYSPACE.lane(session.session_id)

    async def checkpointed() -> bool:
        saved = await pipe.command("HMGET", lane.checkpoint, "@", session.session_id)
        return None not in saved and decode(saved[1], ListenerState).asking

    died = start(Hearing(EnergyEngine(), engine), context(pipe, redis_url, "died"))
    task = asyncio.create_task(died.run())
    await until(lambda: len(engine.asked) == 1)
    writer.append(Command(session.session_id, at, "configure", None, number=1))
    at = write(writer, session, turn(0.3), at)
    writer.append(Command(session.session_id, at, "commit", number=2))
    await writer.flush()
    await until(checkpointed)
    task.cancel()  # as kill -9 leaves it
    await asyncio.gather(task, return_exceptions=True)
    engine.released.set()

    async def both_heard() -> bool:
        return len(await jobs_of(pipe, "stt")) == 2

    async with listening(pipe, redis_url, "successor"):
        await until(both_heard)
    assert await kinds(pipe, session) == [*TURN, "Committed"]
    first, second = (job for job in await jobs_of(pipe, "stt") if isinstance(job, SttJob))
    assert np.array_equal(np.frombuffer(first.pcm, np.int16)[:12_800], turn(0.8)[:12_800])
    # push-to-talk from the configuration on; before it, what was left of the pause
    assert np.array_equal(np.frombuffer(second.pcm, np.int16)[-12_800:], turn(0.3))
    assert (first.respond, second.respond) == ("if_words", "never")


async def test_a_worker_that_drains_does_not_wait_for_the_model(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    session = await open_session(pipe, SEMANTIC)
    writer.append(opened(session, SEMANTIC))
    write(writer, session, turn(0.8))
    engine = HeldEngine()
    async with listening(pipe, redis_url, "first", turns=engine):
        await until(lambda: len(engine.asked) == 1)
    lane = KEYSPACE.lane(session.session_id)
    assert await pipe.command("EXISTS", lane.lease) == 0
    engine.released.set()

    async def heard() -> bool:
        return await kinds(pipe, session) == TURN

    async with listening(pipe, redis_url, "second"):
        await until(heard)
    assert len(await jobs_of(pipe, "stt")) == 1


async def test_an_answer_to_a_session_that_ended_is_nobodys(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    gone, stays = await open_session(pipe, SEMANTIC), await open_session(pipe, SEMANTIC)
    engine = HeldEngine()
    engine.batch = 1
    async with listening(pipe, redis_url, turns=engine) as stage:
        for session in (gone, stays):
            writer.append(opened(session, SEMANTIC))
            write(writer, session, turn(0.8))
        await until(lambda: len(engine.asked) == 1)
        await sessions.close(pipe, held(gone))
        engine.released.set()
        await until(lambda: stage.load == 1)

        async def heard() -> bool:
            return await kinds(pipe, stays) == TURN

        await until(heard)
    assert [job.session_id for job in await jobs_of(pipe, "stt")] == [stays.session_id]  # type: ignore[attr-defined]
