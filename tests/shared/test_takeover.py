"""Who owns a job, and from where one is gone on with, when more went wrong than usual."""

from dataclasses import replace

import pytest

from shared.broker import Pipe, fields_of
from shared.keys import SessionKeys
from shared.messages import Item, LlmJob, TextDelta, decode
from shared.scripts import SESSION_TTL_S, jobs, sessions
from shared.scripts.jobs import Emission, Ownership, Progress
from tests.stages import KEYSPACE, ask, held, jobs_of, open_session, shown

[SHARD] = KEYSPACE.all_shards()
LEASE_MS = 60_000


@pytest.fixture
async def session(pipe: Pipe) -> SessionKeys:
    for stage in ("llm", "tts"):
        await pipe.command("XGROUP", "CREATE", SHARD.jobs(stage), stage, "0", "MKSTREAM")
    return await open_session(pipe)


@pytest.fixture
async def job(pipe: Pipe, session: SessionKeys) -> LlmJob:
    return await ask(pipe, session, "Hello?")


@pytest.fixture
async def owner(pipe: Pipe, job: LlmJob) -> Ownership:
    read = ("XREADGROUP", "GROUP", "llm", "worker", "STREAMS", SHARD.jobs("llm"), ">")
    [[_, [[entry, flat]]]] = await pipe.command(*read)
    epoch = fields_of(flat)[b"epoch"].decode()
    return Ownership(SHARD, "llm", "worker", entry.decode(), 1, epoch)


def saying(session: SessionKeys, job: LlmJob, position: int, text: str) -> Emission:
    """ASCII text from a position of the answer on."""
    delta = TextDelta(response_id=job.response_id, segment=0, at=position, text=text)
    return Emission(session, job.response_id, [delta], progress=Progress(position, text, 0))


async def test_a_worker_that_takes_its_own_job_back_is_not_the_owner_it_was(
    pipe: Pipe, session: SessionKeys, job: LlmJob, owner: Ownership
) -> None:
    await jobs.set_idle(pipe, SHARD, "llm", "worker", LEASE_MS, [owner.entry])
    [again] = await jobs.claim(pipe, SHARD, "llm", "worker", LEASE_MS, [owner.entry])
    emission = saying(session, job, 0, "Hello.")
    assert await jobs.emit(pipe, owner, emission) == "lost"
    assert await jobs.finish(pipe, owner, emission) == "lost"
    now = Ownership(SHARD, "llm", "worker", again.entry, again.attempt, owner.epoch)
    assert await jobs.finish(pipe, now, emission) == "ok"


async def test_a_worker_ahead_of_the_brokers_text_must_begin_again(
    pipe: Pipe, session: SessionKeys, job: LlmJob, owner: Ownership
) -> None:
    assert await jobs.emit(pipe, owner, saying(session, job, 0, "Hello, ")) == "ok"
    before = await shown(pipe, session)
    # as a broker does that comes back without its last second
    await pipe.command("HSET", session.response(job.response_id), "text", "")
    more = saying(session, job, 7, "you there.")
    assert await jobs.emit(pipe, owner, more) == "differs"
    assert await jobs.finish(pipe, owner, more) == "differs"
    assert await shown(pipe, session) == before
    assert len(await jobs_of(pipe, "llm")) == 1


async def test_nothing_of_a_response_that_is_over_is_emitted(
    pipe: Pipe, session: SessionKeys, job: LlmJob, owner: Ownership
) -> None:
    heard = Item.of(item_id=job.item_id, role="assistant", text="")
    await sessions.add_item(pipe, held(session), heard)
    await sessions.end_response(pipe, held(session), job.response_id, heard, "0-0")
    before = await shown(pipe, session)
    assert await jobs.emit(pipe, owner, saying(session, job, 0, "Hello.")) == "stale"
    assert await pipe.command("EXISTS", session.response(job.response_id)) == 0
    whole = Item.of(job.item_id, "assistant", "Hello.")
    late = replace(saying(session, job, 0, "Hello."), item=whole)
    assert await jobs.finish(pipe, owner, late) == "stale"
    assert await shown(pipe, session) == before
    assert decode(await pipe.command("HGET", session.items, job.item_id), Item) == heard
    assert await jobs_of(pipe, "llm") == []


async def test_a_response_that_waits_for_a_worker_lives_as_long_as_its_session(
    pipe: Pipe, session: SessionKeys, job: LlmJob
) -> None:
    key = session.response(job.response_id)
    await pipe.command("EXPIRE", key, 1)
    assert await sessions.touch(pipe, session) == "ok"
    assert await pipe.command("TTL", key) == SESSION_TTL_S
    await pipe.command("DEL", session.state)
    assert await sessions.touch(pipe, session) == "gone"
