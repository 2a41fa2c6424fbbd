"""A broker out of memory: nothing is half done, nothing is lost, and new sessions are refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.exceptions import OutOfMemoryError

from shared import heartbeat
from shared.broker import Pipe, connect
from shared.heartbeat import WorkerInfo
from shared.ids import new_id
from shared.job import Job
from shared.keys import SessionKeys
from shared.lanes import LaneWriter
from shared.leases import LEASE_MS
from shared.messages import (
    Frame,
    Item,
    LlmJob,
    ResponseCreated,
    SessionConfig,
    SpeechStarted,
    SttJob,
    TextDelta,
    Transcribed,
    Truncated,
)
from shared.scripts import jobs, sessions
from shared.scripts.jobs import Emission, NewResponse, Ownership, Progress
from shared.scripts.lanes import Heard, Saved, acquire_lane, checkpoint_lane, emit_lane, hold_lane
from tests.shared.test_jobs import Stage, answered, consuming
from tests.stages import KEYSPACE, ask, done, held, open_session, shown, until

[SHARD] = KEYSPACE.all_shards()
[LANE] = KEYSPACE.all_lanes()


@asynccontextmanager
async def full(pipe: Pipe) -> AsyncIterator[None]:
    """A time in which the broker is out of memory."""
    await pipe.command("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        await pipe.command("CONFIG", "SET", "maxmemory", 0)


@dataclass
class Scene:
    """A session with a turn to transcribe, an answer to write, one aside that waits for the
    transcript, and a lane to listen to."""

    pipe: Pipe
    session: SessionKeys
    response_id: str
    llm: Ownership
    stt: Ownership
    token: int

    @property
    def delta(self) -> TextDelta:
        return TextDelta(response_id=self.response_id, segment=0, at=0, text="Hello.")

    @property
    def emission(self) -> Emission:
        progress = Progress(0, "Hello.", 1)
        return Emission(self.session, self.response_id, [self.delta], progress=progress)


async def take(pipe: Pipe, stage: str) -> Ownership:
    stream = SHARD.jobs(stage)
    await pipe.command("XGROUP", "CREATE", stream, stage, "0", "MKSTREAM")
    reply = await pipe.command("XREADGROUP", "GROUP", stage, "worker_1", "STREAMS", stream, ">")
    [(_, [(entry, _)])] = reply
    return Ownership(SHARD, stage, "worker_1", entry.decode(), 1, "0")


async def begin_aside(pipe: Pipe, session: SessionKeys, name: str) -> str:
    created = ResponseCreated(response_id=name, item_id=name, modality="text", aside=True)
    job = LlmJob(session_id=session.session_id, response_id=name, item_id=name, aside=True)
    return await sessions.create_response(pipe, held(session), NewResponse(name, created, job))


@pytest.fixture
async def scene(pipe: Pipe) -> Scene:
    session = await open_session(pipe)
    job = await ask(pipe, session, "Hello?")
    token = await acquire_lane(pipe, LANE, "vad_1", 60_000)
    spoken = SttJob(session_id=session.session_id, item_id="item_1", turn=1, pcm=b"\0\0")
    heard = Heard(session, 1, b"state", [], item=Item.of(item_id="item_1", role="user"), job=spoken)
    assert await emit_lane(pipe, LANE, token, heard) == "ok"
    assert await begin_aside(pipe, session, "resp_aside") == "ok"  # waits for the transcript
    return Scene(
        pipe, session, job.response_id, await take(pipe, "llm"), await take(pipe, "stt"), token
    )


async def contents(pipe: Pipe) -> dict[bytes, bytes]:
    keys = sorted(await pipe.command("KEYS", "*"))
    return {key: await pipe.command("DUMP", key) for key in keys}


Step = Callable[[Scene], Awaitable[object]]


async def _emit(scene: Scene) -> object:
    return await jobs.emit(scene.pipe, scene.llm, scene.emission)


async def _finish(scene: Scene) -> object:
    return await jobs.finish(scene.pipe, scene.llm, scene.emission)


async def _hear(scene: Scene) -> object:
    started = SpeechStarted(item_id="item_2", turn=2, at=320)
    heard = Heard(scene.session, 2, b"state", [started], interrupts=True)
    return await emit_lane(scene.pipe, LANE, scene.token, heard)


async def _open(scene: Scene) -> object:
    """At once, although others wait: somebody is told that there is no room."""
    hold = held(KEYSPACE.session(new_id("sess")))
    return await sessions.attach(scene.pipe, hold, gateway="gw", token="t", config=SessionConfig())


async def _add(scene: Scene) -> object:
    spoken = SttJob(session_id=scene.session.session_id, item_id="item_3", turn=3, pcm=b"\0\0")
    item = Item.of("item_3", "user")
    hold = held(scene.session)
    return await sessions.add_item(scene.pipe, hold, item, after="", job=spoken, request=1)


async def _replace(scene: Scene) -> object:
    shown = Truncated(item_id="item_1", audio_end_ms=10)
    item = Item.of("item_1", "user", "cut")
    return await sessions.replace_item(scene.pipe, held(scene.session), item, shown, request=1)


async def _tell(scene: Scene) -> object:
    return await sessions.tell(scene.pipe, held(scene.session), scene.delta, request=1)


async def _begin_aside(scene: Scene) -> object:
    return await begin_aside(scene.pipe, scene.session, "resp_more")


@pytest.mark.parametrize(
    "step", [_emit, _finish, _hear, _open, _add, _replace, _tell, _begin_aside]
)
async def test_what_takes_memory_is_refused_whole_and_can_be_done_later(
    scene: Scene, step: Step
) -> None:
    before = await contents(scene.pipe)
    async with full(scene.pipe):
        with pytest.raises(OutOfMemoryError, match="maxmemory"):
            await step(scene)
        assert await contents(scene.pipe) == before
    assert await step(scene) == "ok"


async def _finish_turn(scene: Scene) -> object:
    return await jobs.finish_turn(
        scene.pipe,
        scene.stt,
        scene.session,
        messages=[Transcribed(item_id="item_1", text="Hi", language="en", audio_s=1.0)],
        item=Item.of(item_id="item_1", role="user", text="Hi"),
        respond=None,
    )


async def _bury(scene: Scene) -> object:
    return await jobs.bury(scene.pipe, scene.llm, scene.session, b"job", "why", [scene.delta])


async def _renew(scene: Scene) -> object:
    lost = await jobs.set_idle(scene.pipe, SHARD, "llm", "worker_1", 0, [scene.llm.entry])
    return lost or "ok"


async def _claim(scene: Scene) -> object:
    claimed = await jobs.claim(scene.pipe, SHARD, "llm", "worker_2", 0, [scene.llm.entry])
    return "ok" if len(claimed) == 1 else claimed


async def _hold(scene: Scene) -> object:
    await scene.pipe.command("DEL", LANE.lease)
    return await hold_lane(scene.pipe, LANE, "vad_1", scene.token, 60_000)


async def _acquire(scene: Scene) -> object:
    await scene.pipe.command("DEL", LANE.lease, LANE.fence)
    return "ok" if await acquire_lane(scene.pipe, LANE, "vad_2", 60_000) else "taken"


async def _checkpoint(scene: Scene) -> object:
    states = {scene.session.session_id: Saved(1, b"later")}
    return await checkpoint_lane(scene.pipe, LANE, scene.token, "1-0", states, [])


async def _sign_in(scene: Scene) -> object:
    await heartbeat.sign_in(scene.pipe, WorkerInfo(worker_id="a", stage="vad", ready=True))
    return "ok" if len(await heartbeat.living(scene.pipe)) == 1 else "not alive"


async def _end_response(scene: Scene) -> object:
    item = Item.of(item_id="item_9", role="assistant", text="Hello.")
    return await sessions.end_response(
        scene.pipe, held(scene.session), scene.response_id, item, "1-0"
    )


async def _end_aside(scene: Scene) -> object:
    item = Item.of("item_aside", "assistant", "Hello.")
    return await sessions.end_response(
        scene.pipe, held(scene.session), "resp_aside", item, "1-0", aside=True
    )


async def _delete(scene: Scene) -> object:
    return await sessions.delete_item(scene.pipe, held(scene.session), "item_1", request=1)


async def _touch(scene: Scene) -> object:
    """The transcription that the response aside waits for was lost."""
    await scene.pipe.command("XTRIM", SHARD.jobs("stt"), "MAXLEN", 0)
    assert await scene.pipe.command("XLEN", SHARD.jobs("llm")) == 1
    status = await sessions.touch(scene.pipe, scene.session)
    assert await scene.pipe.command("XLEN", SHARD.jobs("llm")) == 2
    return status


async def _close(scene: Scene) -> object:
    return await sessions.close(scene.pipe, held(scene.session))


@pytest.mark.parametrize(
    "step",
    [
        _finish_turn,
        _bury,
        _renew,
        _claim,
        _hold,
        _acquire,
        _checkpoint,
        _sign_in,
        _end_response,
        _end_aside,
        _delete,
        _touch,
        _close,
    ],
)
async def test_what_keeps_hold_of_work_or_frees_memory_goes_on(scene: Scene, step: Step) -> None:
    async with full(scene.pipe):
        assert await step(scene) == "ok"


async def test_work_waits_for_memory_in_its_owners_hands(pipe: Pipe, redis_url: str) -> None:
    owners: list[str] = []

    async def work(job: Job) -> None:
        owners.append(job.owner.consumer)
        await release.wait()
        await job.emit([answered(job)], progress=Progress(0, "Hello.", 1))
        await job.finish()

    release = asyncio.Event()
    session = await open_session(pipe)
    await ask(pipe, session, "Hello?")
    async with (
        Pipe(connect(redis_url), patient=True) as patient,
        consuming(Stage(work), patient, redis_url, "worker_1"),
        consuming(Stage(work), patient, redis_url, "worker_2"),
    ):
        await until(lambda: len(owners) == 1)
        async with full(pipe):
            release.set()
            await asyncio.sleep(2 * LEASE_MS / 1000)  # beyond a lease that is not renewed
            assert len(await shown(pipe, session)) == 1
        await until(lambda: done(pipe, "llm"))
    assert len(owners) == 1
    assert len(await shown(pipe, session)) == 2


async def test_a_lane_waits_for_memory_and_keeps_its_order(pipe: Pipe) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    async with full(pipe):
        for at in range(5):
            writer.append(Frame("sess_1", at, b"\0\0", 0))
            await asyncio.sleep(0.05)
        assert writer.waiting_bytes == 10
        assert await pipe.command("XLEN", LANE.stream) == 0
    await writer.written("sess_1")
    assert writer.waiting_bytes == 0
    assert await pipe.command("XLEN", LANE.stream) == 2
