"""The job consumer: capacity, takeover, cancelling, dead letters, draining."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from shared import jobs
from shared.broker import Pipe, connect, fields_of
from shared.job import Job
from shared.jobs import JobConsumer
from shared.keys import SessionKeys
from shared.messages import (
    Interrupted,
    JobMessage,
    LlmJob,
    Message,
    OutMessage,
    ResponseFailed,
    TextDelta,
)
from shared.scripts import sessions
from shared.slots import Slots
from tests import stages
from tests.stages import KEYSPACE, SOON_S, ask, done, held, open_session, until

[SHARD] = KEYSPACE.all_shards()


@dataclass
class Stage:
    """A stage whose work is whatever the test says."""

    work: Callable[[Job], Awaitable[None]]
    slots: int = 2
    name: str = "llm"
    job_type: type[JobMessage] = LlmJob
    cancellable: bool = True
    running: set[str] = field(default_factory=set)
    most: int = 0

    async def handle(self, job: Job) -> None:
        assert isinstance(job.message, LlmJob)
        self.running.add(job.message.response_id)
        self.most = max(self.most, len(self.running))
        try:
            await self.work(job)
        finally:
            self.running.discard(job.message.response_id)

    def failure(self, message: JobMessage, problem: str) -> OutMessage:
        assert isinstance(message, LlmJob)
        return ResponseFailed(response_id=message.response_id, message=problem)


@asynccontextmanager
async def consuming(
    stage: Stage, pipe: Pipe, url: str, name: str = "worker_1", drain_s: float = 10.0
) -> AsyncIterator[JobConsumer]:
    reader = connect(url)
    consumer = JobConsumer(
        stage,
        SHARD,
        KEYSPACE,
        pipe=pipe,
        reader=reader,
        consumer=name,
        slots=Slots(stage.slots),
        drain_s=drain_s,
    )
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
        await consumer.stop()
        await asyncio.wait_for(task, SOON_S)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await reader.aclose()


async def respond(pipe: Pipe) -> tuple[SessionKeys, LlmJob]:
    """A session with a response to be worked on."""
    session = await open_session(pipe)
    return session, await ask(pipe, session, "Hello?")


async def shown(pipe: Pipe, session: SessionKeys) -> list[Message]:
    """What the gateway was given after the response began."""
    return (await stages.shown(pipe, session))[1:]


async def pending(pipe: Pipe) -> int:
    return int((await pipe.command("XPENDING", SHARD.jobs("llm"), "llm"))[0])


def answered(job: Job) -> TextDelta:
    assert isinstance(job.message, LlmJob)
    return TextDelta(response_id=job.message.response_id, segment=0, at=0, text="Hello.")


async def test_every_job_is_done_once_and_never_more_than_the_slots_at_a_time(
    pipe: Pipe, redis_url: str
) -> None:
    async def work(job: Job) -> None:
        await job.emit([answered(job)])
        await job.finish()

    made = [await respond(pipe) for _ in range(20)]
    stages = [Stage(work, slots=3), Stage(work, slots=3)]
    async with (
        consuming(stages[0], pipe, redis_url, "worker_1"),
        consuming(stages[1], pipe, redis_url, "worker_2"),
    ):
        await until(lambda: done(pipe, "llm"))
    for session, job in made:
        text = TextDelta(response_id=job.response_id, segment=0, at=0, text="Hello.")
        assert await shown(pipe, session) == [text]
    assert all(stage.most <= 3 for stage in stages)


async def test_a_consumer_takes_no_more_than_it_has_slots_for(pipe: Pipe, redis_url: str) -> None:
    release = asyncio.Event()

    async def work(job: Job) -> None:
        await release.wait()
        await job.finish()

    for _ in range(5):
        await respond(pipe)
    stage = Stage(work, slots=2)
    async with consuming(stage, pipe, redis_url):
        await until(lambda: len(stage.running) == 2)
        assert await pending(pipe) == 2
        release.set()
        await until(lambda: done(pipe, "llm"))


async def test_a_dead_workers_job_is_taken_over(pipe: Pipe, redis_url: str) -> None:
    session, job = await respond(pipe)
    stream = SHARD.jobs("llm")
    await pipe.command("XGROUP", "CREATE", stream, "llm", "0", "MKSTREAM")
    await pipe.command("XREADGROUP", "GROUP", "llm", "died", "STREAMS", stream, ">")
    attempts = []

    async def work(job: Job) -> None:
        attempts.append(job.attempt)
        await job.finish([answered(job)])

    async with consuming(Stage(work), pipe, redis_url):
        await until(lambda: done(pipe, "llm"))
    assert attempts == [2]
    text = TextDelta(response_id=job.response_id, segment=0, at=0, text="Hello.")
    assert await shown(pipe, session) == [text]


async def test_a_running_job_keeps_its_lease(
    pipe: Pipe, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ROUND_S", 0.05)
    starts: list[str] = []
    idle_ms = [0]

    async def renewed() -> bool:
        [row] = await pipe.command("XPENDING", SHARD.jobs("llm"), "llm", "-", "+", 1)
        idle_ms.append(row[2])
        return idle_ms[-1] < idle_ms[-2]

    async def work(job: Job) -> None:
        starts.append(job.owner.consumer)
        for _ in range(5):
            await until(renewed)
        await job.finish()

    await respond(pipe)
    async with (
        consuming(Stage(work), pipe, redis_url, "worker_1"),
        consuming(Stage(work), pipe, redis_url, "worker_2"),
    ):
        await until(lambda: done(pipe, "llm"))
    assert len(starts) == 1


async def test_a_job_that_raises_is_tried_three_times_then_buried(
    pipe: Pipe, redis_url: str
) -> None:
    attempts = []

    async def work(job: Job) -> None:
        attempts.append(job.attempt)
        raise ValueError("the engine cannot do this")

    session, job = await respond(pipe)
    other, _ = await respond(pipe)
    async with consuming(Stage(work), pipe, redis_url):
        await until(lambda: done(pipe, "llm"))
    assert sorted(attempts) == [1, 1, 2, 2, 3, 3]
    told = ResponseFailed(
        response_id=job.response_id, message="ValueError: the engine cannot do this"
    )
    assert await shown(pipe, session) == [told]
    assert len(await shown(pipe, other)) == 1
    assert await pipe.command("XLEN", SHARD.dead) == 2


async def test_a_job_whose_worker_died_every_time_is_buried(pipe: Pipe, redis_url: str) -> None:
    session, job = await respond(pipe)
    stream = SHARD.jobs("llm")
    await pipe.command("XGROUP", "CREATE", stream, "llm", "0", "MKSTREAM")
    reply = await pipe.command("XREADGROUP", "GROUP", "llm", "died", "STREAMS", stream, ">")
    entry = reply[0][1][0][0]
    await pipe.command("XCLAIM", stream, "llm", "died", 0, entry, "RETRYCOUNT", 3)

    async def work(job: Job) -> None:
        raise AssertionError("a poisonous job must not be started again")

    async with consuming(Stage(work), pipe, redis_url):
        await until(lambda: done(pipe, "llm"))
    [failed] = await shown(pipe, session)
    assert isinstance(failed, ResponseFailed)
    assert failed.response_id == job.response_id
    assert "died on each of 3 attempts" in failed.message


async def test_a_job_that_cannot_be_read_is_buried(pipe: Pipe, redis_url: str) -> None:
    await pipe.command("XADD", SHARD.jobs("llm"), "*", "m", b"\xc1 not a message", "epoch", 0)

    async def work(job: Job) -> None:
        raise AssertionError("an unreadable job reached the stage")

    async with consuming(Stage(work), pipe, redis_url):
        await until(lambda: done(pipe, "llm"))
    [(_, fields)] = await pipe.command("XRANGE", SHARD.dead, "-", "+")
    assert b"unreadable message" in fields_of(fields)[b"error"]


async def test_an_interruption_stops_the_work_and_nothing_stale_is_shown(
    pipe: Pipe, redis_url: str
) -> None:
    stopped = asyncio.Event()

    async def work(job: Job) -> None:
        await job.emit([answered(job)])
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    session, job = await respond(pipe)
    stage = Stage(work)
    async with consuming(stage, pipe, redis_url) as consumer:
        await until(lambda: bool(stage.running))
        assert await sessions.interrupt(pipe, held(session)) == "ok"
        consumer.cancel(session.session_id, 1)
        async with asyncio.timeout(SOON_S):
            await stopped.wait()
        await until(lambda: done(pipe, "llm"))
    text = TextDelta(response_id=job.response_id, segment=0, at=0, text="Hello.")
    assert await shown(pipe, session) == [text, Interrupted(reason="client_cancelled")]
    assert await pending(pipe) == 0


async def test_cancelling_an_older_epoch_leaves_newer_work_alone(
    pipe: Pipe, redis_url: str
) -> None:
    release = asyncio.Event()

    async def work(job: Job) -> None:
        await release.wait()
        await job.finish([answered(job)])

    session, _ = await respond(pipe)
    stage = Stage(work)
    async with consuming(stage, pipe, redis_url) as consumer:
        await until(lambda: bool(stage.running))
        consumer.cancel(session.session_id, 0)
        consumer.cancel("sess_of_somebody_else", 7)
        release.set()
        await until(lambda: done(pipe, "llm"))
    assert len(await shown(pipe, session)) == 1


async def test_draining_finishes_what_is_at_hand_and_takes_nothing_new(
    pipe: Pipe, redis_url: str
) -> None:
    release = asyncio.Event()

    async def work(job: Job) -> None:
        await release.wait()
        await job.finish([answered(job)])

    first, _ = await respond(pipe)
    stage = Stage(work, slots=1)
    async with consuming(stage, pipe, redis_url) as consumer:
        await until(lambda: bool(stage.running))
        second, _ = await respond(pipe)
        await consumer.stop()
        release.set()
    assert len(await shown(pipe, first)) == 1
    assert await shown(pipe, second) == []
    assert await pipe.command("XLEN", SHARD.jobs("llm")) == 1


async def test_a_job_too_long_to_drain_is_handed_on(pipe: Pipe, redis_url: str) -> None:
    async def endless(job: Job) -> None:
        await asyncio.Event().wait()

    async def quick(job: Job) -> None:
        await job.finish([answered(job)])

    session, _ = await respond(pipe)
    stuck = Stage(endless)
    async with consuming(stuck, pipe, redis_url, "worker_1", drain_s=0.01):
        await until(lambda: bool(stuck.running))
    async with consuming(Stage(quick), pipe, redis_url, "worker_2"):
        await until(lambda: done(pipe, "llm"))
    assert len(await shown(pipe, session)) == 1


async def test_a_broker_that_lost_its_data_is_worked_for_again(pipe: Pipe, redis_url: str) -> None:
    async def work(job: Job) -> None:
        await job.finish([answered(job)])

    async with consuming(Stage(work), pipe, redis_url):
        await respond(pipe)
        await until(lambda: done(pipe, "llm"))
        await pipe.command("FLUSHALL")
        session, _ = await respond(pipe)
        await until(lambda: _one_shown(pipe, session))


async def _one_shown(pipe: Pipe, session: SessionKeys) -> bool:
    return len(await shown(pipe, session)) == 1
