"""Responses that wait for transcripts, and responses aside of the conversation."""

from collections.abc import Sequence

import pytest

from shared.broker import Pipe, fields_of
from shared.ids import new_id
from shared.keys import SessionKeys
from shared.messages import (
    Interrupted,
    Item,
    LlmJob,
    OutputCleared,
    ResponseCreated,
    ResponseFailed,
    SttJob,
    TextDelta,
    Transcribed,
    TtsJob,
    decode,
    encode,
)
from shared.scripts import SESSION_TTL_S, dead, jobs, lanes, sessions
from shared.scripts.jobs import Emission, NewResponse, Ownership, Progress
from shared.scripts.lanes import Heard
from tests.stages import KEYSPACE, held, jobs_of, open_session, shown

[SHARD] = KEYSPACE.all_shards()
[LANE] = KEYSPACE.all_lanes()
MOST_ASIDE = 4


@pytest.fixture
async def session(pipe: Pipe) -> SessionKeys:
    for stage in ("stt", "llm", "tts"):
        await pipe.command("XGROUP", "CREATE", SHARD.jobs(stage), stage, "0", "MKSTREAM")
    return await open_session(pipe)


def new_response(session: SessionKeys, *, aside: bool = False) -> NewResponse:
    response_id, item_id = new_id("resp"), new_id("item")
    return NewResponse(
        response_id,
        ResponseCreated(response_id=response_id, item_id=item_id, modality="audio", aside=aside),
        LlmJob(
            session_id=session.session_id, response_id=response_id, item_id=item_id, aside=aside
        ),
    )


async def begin(pipe: Pipe, session: SessionKeys, *, aside: bool = False) -> NewResponse:
    response = new_response(session, aside=aside)
    assert await sessions.create_response(pipe, held(session), response) == "ok"
    return response


async def take(pipe: Pipe, stage: str) -> Ownership:
    """Reads the next job of a stage."""
    read = ("XREADGROUP", "GROUP", stage, "worker", "COUNT", 1, "STREAMS", SHARD.jobs(stage), ">")
    [[_, [[entry, flat]]]] = await pipe.command(*read)
    return Ownership(SHARD, stage, "worker", entry.decode(), 1, fields_of(flat)[b"epoch"].decode())


async def say(pipe: Pipe, session: SessionKeys) -> Item:
    """The user says something that is still to be transcribed."""
    item = Item.of(new_id("item"), "user", modality="audio")
    job = SttJob(session_id=session.session_id, item_id=item.item_id, turn=1, pcm=b"")
    assert await sessions.add_item(pipe, held(session), item, job=job) == "ok"
    return item


async def transcribe(
    pipe: Pipe, session: SessionKeys, item: Item, respond: NewResponse | None = None
) -> str:
    """The next transcription ends."""
    text = Transcribed(item_id=item.item_id, text="Hello", language=None, audio_s=1.0)
    return await jobs.finish_turn(
        pipe,
        await take(pipe, "stt"),
        session,
        messages=[text],
        item=item.transcribed("Hello"),
        respond=respond,
    )


def saying(session: SessionKeys, response: NewResponse, text: str = "Hi.") -> Emission:
    words = [TextDelta(response_id=response.response_id, segment=0, at=0, text=text)]
    return Emission(session, response.response_id, words, progress=Progress(0, text, 0))


def of(responses: Sequence[NewResponse]) -> list[LlmJob]:
    return [response.job for response in responses]


# --- waiting for transcripts ---


@pytest.mark.parametrize("aside", [False, True])
async def test_a_response_waits_until_all_that_was_said_is_transcribed(
    pipe: Pipe, session: SessionKeys, aside: bool
) -> None:
    said = [await say(pipe, session) for _ in range(2)]
    response = await begin(pipe, session, aside=aside)
    assert await shown(pipe, session) == [response.created]
    for item in said:
        assert await jobs_of(pipe, "llm") == []
        assert await transcribe(pipe, session, item) == "ok"
    assert await jobs_of(pipe, "llm") == [response.job]
    owner = await take(pipe, "llm")
    assert await jobs.emit(pipe, owner, saying(session, response)) == "ok"
    saved = await pipe.command("HGET", session.response(response.response_id), "after")
    assert saved.decode() == said[-1].item_id


async def test_a_response_does_not_wait_for_what_is_said_later(
    pipe: Pipe, session: SessionKeys
) -> None:
    said = await say(pipe, session)
    response = await begin(pipe, session)
    await say(pipe, session)
    await transcribe(pipe, session, said)
    assert await jobs_of(pipe, "llm") == [response.job]


async def test_a_turn_is_answered_when_the_next_is_transcribed_too(
    pipe: Pipe, session: SessionKeys
) -> None:
    said = [await say(pipe, session) for _ in range(2)]
    first, second = new_response(session), new_response(session)
    assert await transcribe(pipe, session, said[0], first) == "ok"
    assert await jobs_of(pipe, "llm") == []
    assert await transcribe(pipe, session, said[1], second) == "active"
    assert await jobs_of(pipe, "llm") == [first.job]


async def test_a_turn_that_the_ear_heard_is_waited_for(pipe: Pipe, session: SessionKeys) -> None:
    token = await lanes.acquire_lane(pipe, LANE, "vad_1", 60_000)
    item = Item.of("item_1", "user", modality="audio")
    job = SttJob(session_id=session.session_id, item_id=item.item_id, turn=1, pcm=b"")
    heard = Heard(session, 1, b"state", [], item=item, job=job)
    for status in ("ok", "repeat"):
        assert await lanes.emit_lane(pipe, LANE, token, heard) == status
    response = await begin(pipe, session)
    await transcribe(pipe, session, item)
    assert await jobs_of(pipe, "llm") == [response.job]


async def test_a_response_that_was_cancelled_while_it_waited_is_not_written(
    pipe: Pipe, session: SessionKeys
) -> None:
    said = await say(pipe, session)
    cancelled, aside = await begin(pipe, session), await begin(pipe, session, aside=True)
    assert await sessions.interrupt(pipe, held(session)) == "ok"
    meant = aside.response_id
    assert await sessions.interrupt(pipe, held(session), response_id=meant) == "ok"
    await transcribe(pipe, session, said)
    assert await jobs_of(pipe, "llm") == []
    # begun again, as after a lost reply, it is written once
    assert await sessions.create_response(pipe, held(session), cancelled) == "ok"
    await transcribe(pipe, session, await say(pipe, session))
    assert await jobs_of(pipe, "llm") == [cancelled.job]


async def test_nothing_waits_in_a_session_that_ended(pipe: Pipe, session: SessionKeys) -> None:
    said = await say(pipe, session)
    responses = [await begin(pipe, session, aside=aside) for aside in (False, True)]
    await sessions.close(pipe, held(session))
    keys = [session.response(response.response_id) for response in responses]
    assert await pipe.command("EXISTS", session.state, *keys) == 0
    assert await transcribe(pipe, session, said) == "gone"
    assert await jobs_of(pipe, "llm") == []


async def test_a_transcription_that_failed_is_not_waited_for(
    pipe: Pipe, session: SessionKeys
) -> None:
    await say(pipe, session)
    response = await begin(pipe, session)
    owner = await take(pipe, "stt")
    job = SttJob(session_id=session.session_id, item_id="item", turn=1, pcm=b"")
    assert await jobs.bury(pipe, owner, session, encode(job), "it broke", []) == "ok"
    assert await jobs.bury(pipe, owner, session, encode(job), "it broke", []) == "lost"
    assert await jobs_of(pipe, "llm") == [response.job]
    [letter] = [each async for each in dead.dead_jobs(pipe, SHARD)]
    assert await dead.retry(pipe, letter) == "ok"
    # put back to work, it is waited for like any other
    aside = await begin(pipe, session, aside=True)
    assert await jobs_of(pipe, "llm") == [response.job]
    await transcribe(pipe, session, Item.of("item", "user", modality="audio"))
    assert await jobs_of(pipe, "llm") == of([response, aside])


async def test_a_transcription_that_was_lost_holds_nothing_up_for_good(
    pipe: Pipe, session: SessionKeys
) -> None:
    """Trimmed unread, trimmed while it was worked on, buried by who could not read it."""
    for _ in range(3):
        await say(pipe, session)
    response = await begin(pipe, session)
    unread, buried = await take(pipe, "stt"), await take(pipe, "stt")
    nobody = SHARD.session("unknown")
    assert await jobs.bury(pipe, buried, nobody, b"?", "unreadable", []) == "gone"
    await sessions.touch(pipe, session)
    assert await jobs_of(pipe, "llm") == []
    await pipe.command("XTRIM", SHARD.jobs("stt"), "MAXLEN", 0)
    assert await jobs.claim(pipe, SHARD, "stt", "worker_2", 0, [unread.entry]) == []
    await sessions.touch(pipe, session)
    assert await jobs_of(pipe, "llm") == [response.job]


async def test_there_is_a_bound_to_what_is_waited_for(pipe: Pipe, session: SessionKeys) -> None:
    for _ in range(300):
        await say(pipe, session)
    assert len((await pipe.command("HGET", session.state, "transcribing")).split()) == 256


# --- aside of the conversation ---


async def test_responses_aside_are_active_beside_another_up_to_a_bound(
    pipe: Pipe, session: SessionKeys
) -> None:
    responses = [await begin(pipe, session)]
    responses += [await begin(pipe, session, aside=True) for _ in range(MOST_ASIDE)]
    assert await jobs_of(pipe, "llm") == of(responses)
    # repeated after a lost reply, and one too many
    assert await sessions.create_response(pipe, held(session), responses[-1]) == "ok"
    more = new_response(session, aside=True)
    assert await sessions.create_response(pipe, held(session), more) == "active"
    assert await jobs_of(pipe, "llm") == of(responses)
    assert await shown(pipe, session) == [response.created for response in responses]
    # one that ends makes room, and ends once
    for _ in range(2):
        await end(pipe, session, responses[1])
    assert await sessions.create_response(pipe, held(session), more) == "ok"
    another = new_response(session, aside=True)
    assert await sessions.create_response(pipe, held(session), another) == "active"


async def end(pipe: Pipe, session: SessionKeys, response: NewResponse, entry: str = "0-0") -> None:
    created = response.created
    item = Item.of(created.item_id, "assistant", "Hi.")
    given = (response.response_id, item, entry)
    assert await sessions.end_response(pipe, held(session), *given, aside=created.aside) == "ok"


async def test_a_response_aside_outlives_a_barge_in(pipe: Pipe, session: SessionKeys) -> None:
    spoken, aside = await begin(pipe, session), await begin(pipe, session, aside=True)
    token = await lanes.acquire_lane(pipe, LANE, "vad_1", 60_000)
    heard = Heard(session, 1, b"state", [], interrupts=True)
    assert await lanes.emit_lane(pipe, LANE, token, heard) == "ok"
    owners = [await take(pipe, "llm") for _ in range(2)]
    assert await jobs.emit(pipe, owners[0], saying(session, spoken)) == "stale"
    speech = Emission(
        session,
        aside.response_id,
        saying(session, aside).messages,
        [_speech(session, aside)],
        Progress(0, "Hi.", 1),
    )
    assert await jobs.emit(pipe, owners[1], speech) == "ok"
    assert (
        await jobs.finish(pipe, await take(pipe, "tts"), Emission(session, aside.response_id))
        == "ok"
    )
    assert await pipe.command("EXISTS", session.items, session.order) == 0


async def test_only_the_response_aside_that_is_named_is_cancelled(
    pipe: Pipe, session: SessionKeys
) -> None:
    spoken, first, second = [
        await begin(pipe, session, aside=aside) for aside in (False, True, True)
    ]
    then = [OutputCleared(response_id=first.response_id)]
    for status, request in (("ok", 1), ("ok", 1), ("idle", 2)):
        assert status == await sessions.interrupt(
            pipe, held(session), response_id=first.response_id, then=then, request=request
        )
    cancelled = Interrupted(reason="client_cancelled", response_id=first.response_id)
    assert (await shown(pipe, session))[3:] == [cancelled, *then]
    assert await pipe.command("HGET", session.state, "epoch") == b"0"
    statuses = [
        await jobs.finish(pipe, await take(pipe, "llm"), saying(session, response))
        for response in (spoken, first, second)
    ]
    assert statuses == ["ok", "stale", "ok"]
    assert await jobs_of(pipe, "llm") == []


@pytest.mark.parametrize("aside", [False, True])
async def test_a_dead_job_is_retried_while_its_response_is_active(
    pipe: Pipe, session: SessionKeys, aside: bool
) -> None:
    response = await begin(pipe, session, aside=aside)
    owner = await take(pipe, "llm")
    told = ResponseFailed(response_id=response.response_id, message="it broke")
    await jobs.bury(pipe, owner, session, encode(response.job), "it broke", [told])
    [letter] = [each async for each in dead.dead_jobs(pipe, SHARD)]
    assert await dead.retry(pipe, letter) == "ok"
    assert await dead.retry(pipe, letter) == "missing"
    again = await take(pipe, "llm")
    assert again.epoch == owner.epoch
    await jobs.bury(pipe, again, session, encode(response.job), "it broke", [told])
    await end(pipe, session, response)
    [letter] = [each async for each in dead.dead_jobs(pipe, SHARD)]
    assert await dead.retry(pipe, letter) == "over"
    await sessions.close(pipe, held(session))
    assert await dead.retry(pipe, letter) == "gone"


async def test_responses_aside_live_as_long_as_their_session(
    pipe: Pipe, session: SessionKeys
) -> None:
    aside = await begin(pipe, session, aside=True)
    key = session.response(aside.response_id)
    await pipe.command("EXPIRE", key, 1)
    assert await sessions.touch(pipe, session) == "ok"
    assert await pipe.command("TTL", key) == SESSION_TTL_S


async def test_output_is_kept_from_where_a_response_aside_began(
    pipe: Pipe, session: SessionKeys
) -> None:
    async def spoken() -> None:
        response = await begin(pipe, session)
        await end(pipe, session, response, await last(pipe, session))

    aside = await begin(pipe, session, aside=True)
    for _ in range(3):
        await spoken()
    assert (await shown(pipe, session))[0] == aside.created
    await end(pipe, session, aside)
    for _ in range(2):
        await spoken()
    assert aside.created not in await shown(pipe, session)


async def last(pipe: Pipe, session: SessionKeys) -> str:
    """The newest entry of the session's output."""
    [[entry, _]] = await pipe.command("XREVRANGE", session.out, "+", "-", "COUNT", 1)
    return entry.decode()


# --- what an answer puts into the conversation ---


async def test_an_answer_is_an_item_from_its_first_words_on(
    pipe: Pipe, session: SessionKeys
) -> None:
    response = await begin(pipe, session)
    owner = await take(pipe, "llm")
    assert await pipe.command("EXISTS", session.items) == 0
    begun = Item.of(response.job.item_id, "assistant", "Hi.", status="in_progress")
    progress = Progress(0, "Hi.", 0)
    first = Emission(session, response.response_id, progress=progress, begins=[begun])
    assert await jobs.emit(pipe, owner, first) == "ok"
    assert decode(await pipe.command("HGET", session.items, begun.item_id), Item) == begun
    assert await sessions.delete_item(pipe, held(session), begun.item_id) == "ok"
    # taken out by the client, it does not come back: not with a repetition, not in the end
    assert await jobs.emit(pipe, owner, first) == "ok"
    assert await pipe.command("EXISTS", session.items) == 0
    done = Emission(session, response.response_id, item=Item.of(begun.item_id, "assistant", "Hi."))
    assert await jobs.finish(pipe, owner, done) == "ok"
    assert await pipe.command("EXISTS", session.items) == 0


async def test_an_answer_to_a_full_conversation_lets_the_oldest_item_go(
    pipe: Pipe, session: SessionKeys
) -> None:
    hold = held(session)
    for number in range(256):
        await sessions.add_item(pipe, hold, Item.of(f"item_{number}", "user", "Hello."))
    response = await begin(pipe, session)
    item = Item.of(response.job.item_id, "assistant", "Hi.")
    emission = Emission(session, response.response_id, begins=[item])
    assert await jobs.finish(pipe, await take(pipe, "llm"), emission) == "ok"
    order = [name.decode() for name in await pipe.command("LRANGE", session.order, 0, -1)]
    assert order == [*(f"item_{number}" for number in range(1, 256)), item.item_id]


def _speech(session: SessionKeys, response: NewResponse) -> TtsJob:
    return TtsJob(
        session_id=session.session_id,
        response_id=response.response_id,
        segment=0,
        text="Hi.",
        voice=None,
        speed=1.0,
        sample_rate=24_000,
    )
