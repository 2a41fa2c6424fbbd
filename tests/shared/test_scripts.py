"""The scripts against real brokers: who may write, and that a hand-off is one step."""

from dataclasses import dataclass

import pytest

from shared.broker import Pipe, fields_of
from shared.ids import new_id
from shared.keys import Keyspace, SessionKeys
from shared.messages import (
    AudioChunk,
    Cleared,
    Interrupted,
    Item,
    ItemAdded,
    LlmJob,
    Message,
    ResponseCreated,
    ResponseFailed,
    SessionConfig,
    SttJob,
    TextDelta,
    Transcribed,
    TtsJob,
    decode,
    encode,
)
from shared.scripts import jobs, sessions
from shared.scripts.jobs import Emission, NewResponse, Orphan, Ownership, Progress
from tests.stages import held

KEYSPACE = Keyspace(shards=3, lanes=4)


@pytest.fixture
async def session(pipe: Pipe) -> SessionKeys:
    keys = KEYSPACE.session(new_id("sess"))
    status = await sessions.attach(
        pipe, held(keys), gateway="gw_1", token="secret", config=SessionConfig()
    )
    assert status == "ok"
    for stage in ("stt", "llm", "tts"):
        await pipe.command("XGROUP", "CREATE", keys.shard.jobs(stage), stage, "0", "MKSTREAM")
    return keys


@dataclass
class Answering:
    """A response that consumer `worker_1` of the language model works on."""

    response: NewResponse
    owner: Ownership


def new_response(session: SessionKeys) -> NewResponse:
    response_id, item_id = new_id("resp"), new_id("item")
    return NewResponse(
        response_id,
        ResponseCreated(response_id=response_id, item_id=item_id, modality="audio"),
        LlmJob(session_id=session.session_id, response_id=response_id, item_id=item_id),
    )


async def take(pipe: Pipe, session: SessionKeys, stage: str, consumer: str) -> Ownership:
    """Reads one job as `consumer`."""
    stream = session.shard.jobs(stage)
    reply = await pipe.command(
        "XREADGROUP", "GROUP", stage, consumer, "COUNT", 1, "STREAMS", stream, ">"
    )
    [(_, [(entry, fields)])] = reply
    epoch = fields_of(fields)[b"epoch"].decode()
    return Ownership(session.shard, stage, consumer, entry.decode(), 1, epoch)


@pytest.fixture
async def answering(pipe: Pipe, session: SessionKeys) -> Answering:
    response = new_response(session)
    assert await sessions.create_response(pipe, held(session), response) == "ok"
    return Answering(response, await take(pipe, session, "llm", "worker_1"))


async def shown(pipe: Pipe, session: SessionKeys) -> list[Message]:
    reply = await pipe.command("XRANGE", session.out, "-", "+")
    return [decode(fields_of(fields)[b"m"], Message) for _, fields in reply]


def delta(response: NewResponse, text: str, segment: int = 0) -> TextDelta:
    return TextDelta(response_id=response.response_id, segment=segment, at=0, text=text)


def speech(session: SessionKeys, response: NewResponse, segment: int) -> TtsJob:
    return TtsJob(
        session_id=session.session_id,
        response_id=response.response_id,
        segment=segment,
        text="Hello.",
        voice=None,
        speed=1.0,
        sample_rate=24_000,
    )


async def pending(pipe: Pipe, owner: Ownership) -> int:
    summary = await pipe.command("XPENDING", owner.shard.jobs(owner.stage), owner.stage)
    return int(summary[0])


# --- emit and finish ---


async def test_emit_shows_hands_on_and_remembers(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    response = answering.response
    emission = Emission(
        session,
        response.response_id,
        [delta(response, "Hello.")],
        [speech(session, response, 0)],
        Progress(0, "Hello.", 1),
    )
    assert await jobs.emit(pipe, answering.owner, emission) == "ok"
    assert await shown(pipe, session) == [response.created, delta(response, "Hello.")]
    saved = fields_of(await pipe.command("HGETALL", session.response(response.response_id)))
    assert saved == {b"text": b"Hello.", b"segments": b"1", b"after": b""}
    spoken = await take(pipe, session, "tts", "worker_2")
    assert spoken.epoch == answering.owner.epoch


async def test_an_emission_repeated_after_a_lost_reply_is_written_once(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    response = answering.response
    first = Emission(
        session, response.response_id, [delta(response, "Ça va ")], (), Progress(0, "Ça va ", 0)
    )
    second = Emission(
        session, response.response_id, [delta(response, "bien.")], (), Progress(7, "bien.", 0)
    )
    for emission in (first, first, second, second):
        assert await jobs.emit(pipe, answering.owner, emission) == "ok"
    assert [m.text for m in await shown(pipe, session) if isinstance(m, TextDelta)] == [
        "Ça va ",
        "bien.",
    ]


async def test_finish_emits_and_acknowledges_in_one_step(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    response, owner = answering.response, answering.owner
    begun = Item.of(item_id=response.job.item_id, role="assistant", status="in_progress")
    done = Item.of(item_id=response.job.item_id, role="assistant", text="Hello.")
    words = [delta(response, "Hello.")]
    emission = Emission(session, response.response_id, words, begins=[begun], item=done)
    assert await jobs.finish(pipe, owner, emission) == "ok"
    assert await pending(pipe, owner) == 0
    assert await pipe.command("XLEN", session.shard.jobs("llm")) == 0
    saved = await pipe.command("HGET", session.items, done.item_id)
    assert decode(saved, Item) == done
    # whoever finishes second gets nothing
    assert await jobs.finish(pipe, owner, emission) == "lost"
    assert len(await shown(pipe, session)) == 2


async def test_a_former_owner_can_neither_emit_nor_finish(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    entry = answering.owner.entry
    [delivery] = await jobs.claim(pipe, session.shard, "llm", "worker_9", 0, [entry])
    assert (delivery.entry, delivery.attempt) == (answering.owner.entry, 2)
    emission = Emission(session, answering.response.response_id, [Cleared()])
    assert await jobs.emit(pipe, answering.owner, emission) == "lost"
    assert await jobs.finish(pipe, answering.owner, emission) == "lost"
    assert await pending(pipe, answering.owner) == 1
    successor = Ownership(
        session.shard, "llm", "worker_9", delivery.entry, 2, answering.owner.epoch
    )
    assert await jobs.finish(pipe, successor, emission) == "ok"
    assert await shown(pipe, session) == [answering.response.created, Cleared()]


async def test_a_cancelled_response_is_stale_and_its_job_is_done(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    assert await sessions.interrupt(pipe, held(session)) == "ok"
    emission = Emission(session, answering.response.response_id, [Cleared()])
    assert await jobs.emit(pipe, answering.owner, emission) == "stale"
    assert await jobs.finish(pipe, answering.owner, emission) == "stale"
    assert await pending(pipe, answering.owner) == 0
    assert await shown(pipe, session) == [
        answering.response.created,
        Interrupted(reason="client_cancelled"),
    ]


async def test_nothing_is_written_for_a_session_that_ended(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    await sessions.close(pipe, held(session))
    emission = Emission(
        session, answering.response.response_id, [Cleared()], progress=Progress(0, "x", 0)
    )
    assert await jobs.finish(pipe, answering.owner, emission) == "gone"
    assert await pipe.command("EXISTS", session.state, session.out, session.items) == 0
    assert await pending(pipe, answering.owner) == 0


# --- responses ---


async def test_one_response_at_a_time(pipe: Pipe, session: SessionKeys) -> None:
    first, second = new_response(session), new_response(session)
    assert await sessions.create_response(pipe, held(session), first) == "ok"
    # repeated after a lost reply: begun, and begun once
    assert await sessions.create_response(pipe, held(session), first) == "ok"
    assert await pipe.command("XLEN", session.shard.jobs("llm")) == 1
    assert await shown(pipe, session) == [first.created]
    assert await sessions.create_response(pipe, held(session), second) == "active"
    ended = Item.of(item_id=first.job.item_id, role="assistant", text="Hello.")
    await sessions.end_response(pipe, held(session), first.response_id, ended, "0-0")
    assert await sessions.create_response(pipe, held(session), second) == "ok"
    # a late end of the first does not end the second
    await sessions.end_response(pipe, held(session), first.response_id, ended, "0-0")
    assert await sessions.create_response(pipe, held(session), new_response(session)) == "active"


async def test_interrupting_an_idle_session_does_nothing(pipe: Pipe, session: SessionKeys) -> None:
    assert await sessions.interrupt(pipe, held(session)) == "idle"
    assert await shown(pipe, session) == []


async def test_only_the_response_that_is_meant_is_cancelled(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    assert await sessions.interrupt(pipe, held(session), response_id="resp_before") == "idle"
    meant = answering.response.response_id
    assert await sessions.interrupt(pipe, held(session), response_id=meant) == "ok"


async def test_a_session_that_ended_is_not_configured(pipe: Pipe, session: SessionKeys) -> None:
    config = SessionConfig(language="fr")
    assert await sessions.configure(pipe, held(session), config) == "ok"
    assert decode(await pipe.command("HGET", session.state, "config"), SessionConfig) == config
    await sessions.close(pipe, held(session))
    assert await sessions.configure(pipe, held(session), config) == "gone"
    assert await pipe.command("EXISTS", session.state) == 0


async def test_an_interruption_is_published(pipe: Pipe, session: SessionKeys) -> None:
    await sessions.create_response(pipe, held(session), new_response(session))
    async with pipe.redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(session.shard.control)
        await subscription.get_message(timeout=1)
        await sessions.interrupt(pipe, held(session))
        message = await subscription.get_message(timeout=5)
    assert message is not None
    assert message["data"] == f"{session.session_id} 1".encode()


async def test_a_transcript_is_kept_but_not_answered_once_the_user_spoke_on(
    pipe: Pipe, session: SessionKeys
) -> None:

    item_id = new_id("item")
    waiting = Item.of(item_id=item_id, role="user", status="in_progress", modality="audio")
    job = SttJob(session_id=session.session_id, item_id=item_id, turn=1, pcm=b"")
    assert await sessions.add_item(pipe, held(session), waiting, job=job) == "ok"
    owner = await take(pipe, session, "stt", "worker_1")
    await pipe.command("HINCRBY", session.state, "epoch", 1)
    text = Transcribed(item_id=item_id, text="hello", language="en", audio_s=1.0)
    said = Item.of(item_id=item_id, role="user", text="hello", modality="audio")
    status = await jobs.finish_turn(
        pipe, owner, session, messages=[text], item=said, respond=new_response(session)
    )
    assert status == "stale"
    assert await shown(pipe, session) == [ItemAdded(item=waiting), text]
    assert await pipe.command("XLEN", session.shard.jobs("llm")) == 0
    assert decode(await pipe.command("HGET", session.items, item_id), Item) == said


# --- owning jobs ---


async def test_a_lease_that_is_renewed_is_not_claimed(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    shard, entry = session.shard, answering.owner.entry
    assert await jobs.set_idle(pipe, shard, "llm", "worker_1", 60_000, [entry]) == []
    assert await jobs.set_idle(pipe, shard, "llm", "worker_1", 0, [entry]) == []
    assert await jobs.orphans(pipe, shard, "llm", 30_000, 10) == []
    assert await jobs.claim(pipe, shard, "llm", "worker_2", 30_000, [entry]) == []
    assert await jobs.set_idle(pipe, shard, "llm", "worker_1", 60_000, [entry]) == []
    assert await jobs.orphans(pipe, shard, "llm", 30_000, 10) == [Orphan(entry, 2)]
    [claimed] = await jobs.claim(pipe, shard, "llm", "worker_2", 30_000, [entry])
    assert (claimed.entry, claimed.attempt) == (entry, 2)
    # renewing what another owns must not take it back
    assert await jobs.set_idle(pipe, shard, "llm", "worker_1", 0, [entry]) == [entry]
    assert await jobs.set_idle(pipe, shard, "llm", "worker_2", 0, [entry]) == []


async def test_handing_on_what_was_no_attempt_does_not_count(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    shard, entry = session.shard, answering.owner.entry
    lost = await jobs.set_idle(pipe, shard, "llm", "worker_1", 60_000, [entry], counts=False)
    assert lost == []
    assert await jobs.orphans(pipe, shard, "llm", 30_000, 10) == [Orphan(entry, 1)]
    [claimed] = await jobs.claim(pipe, shard, "llm", "worker_2", 30_000, [entry])
    assert claimed.attempt == 1


async def test_a_job_trimmed_while_pending_is_forgotten(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    await pipe.command("XDEL", session.shard.jobs("llm"), answering.owner.entry)
    entry = answering.owner.entry
    assert await jobs.claim(pipe, session.shard, "llm", "worker_2", 0, [entry]) == []
    assert await pending(pipe, answering.owner) == 0


async def test_a_buried_job_leaves_its_trace_and_tells_the_client(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    response = answering.response
    told = ResponseFailed(response_id=response.response_id, message="it broke")
    await jobs.bury(pipe, answering.owner, session, encode(response.job), "it broke", [told])
    [(_, fields)] = await pipe.command("XRANGE", session.shard.dead, "-", "+")
    fields = fields_of(fields)
    assert fields[b"stage"] == b"llm"
    assert fields[b"error"] == b"it broke"
    assert decode(fields[b"m"], LlmJob) == response.job
    assert await pending(pipe, answering.owner) == 0
    assert (await shown(pipe, session))[-1] == told


async def test_only_silent_consumers_without_jobs_are_reaped(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    stream = session.shard.jobs("llm")
    await pipe.command("XGROUP", "CREATECONSUMER", stream, "llm", "idler")
    assert await jobs.reap(pipe, session.shard, "llm", 60_000) == 0
    assert await jobs.reap(pipe, session.shard, "llm", 0) == 1
    assert await pending(pipe, answering.owner) == 1


async def test_every_message_rings_the_gateway(
    pipe: Pipe, session: SessionKeys, answering: Answering
) -> None:
    async with pipe.redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(session.shard.doorbell("gw_1"))
        await subscription.get_message(timeout=1)
        chunk = AudioChunk(
            response_id=answering.response.response_id, segment=0, offset=0, pcm=b"\0\0"
        )
        await jobs.emit(
            pipe, answering.owner, Emission(session, answering.response.response_id, [chunk])
        )
        message = await subscription.get_message(timeout=5)
    assert message is not None
    assert message["data"] == session.session_id.encode()
