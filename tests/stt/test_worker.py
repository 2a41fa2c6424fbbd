"""The STT stage: batches across sessions, and the answer begun in the same step."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from redis.asyncio import Redis

from shared.broker import Pipe
from shared.ids import new_id
from shared.keys import SessionKeys
from shared.messages import (
    Item,
    LlmHint,
    LlmJob,
    Part,
    ResponseCreated,
    SessionConfig,
    SttHint,
    SttJob,
    Transcribed,
    TranscriptionFailed,
    decode,
    encode,
)
from shared.scripts import sessions
from tests.stages import (
    context,
    done,
    held,
    hinted,
    jobs_of,
    next_message,
    open_session,
    shown,
    until,
    working,
)
from workers.stt.batcher import Batcher
from workers.stt.engines import Transcript, Utterance
from workers.stt.worker import start


class Counter:
    """Transcribes an utterance as its number of samples; waits until released."""

    model = name = "counter"
    works_ahead = True

    def __init__(self, *, held: bool = False, languages: Sequence[str] = ()) -> None:
        self.languages = languages
        self.batches: list[int] = []
        self.released = threading.Event()
        if not held:
            self.released.set()

    def load(self) -> None:
        pass

    def close(self) -> None:
        pass

    def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        self.released.wait(10)
        self.batches.append(len(batch))
        if any(len(utterance.pcm) == 13 for utterance in batch):
            raise ValueError("an unlucky utterance")
        return [Transcript(_text(u), "en", len(u.pcm) / 16_000, False) for u in batch]


def _text(utterance: Utterance) -> str:
    return f"{len(utterance.pcm)} samples" if len(utterance.pcm) else ""


def utterance(samples: int) -> Utterance:
    return Utterance(np.zeros(samples, np.int16), None, None)


async def test_what_waits_is_transcribed_together_up_to_the_batch_size() -> None:
    engine = Counter(held=True)
    batcher = Batcher(engine, size=4)
    tasks = [asyncio.create_task(batcher.transcribe(utterance(n))) for n in range(1, 10)]
    await asyncio.sleep(0)  # all are waiting now
    engine.released.set()
    transcripts = await asyncio.gather(*tasks)
    assert [t.text for t in transcripts] == [f"{n} samples" for n in range(1, 10)]
    assert engine.batches == [4, 4, 1]


async def test_one_utterance_that_fails_fails_alone() -> None:
    batcher = Batcher(Counter(), size=8)
    tasks = [asyncio.create_task(batcher.transcribe(utterance(n))) for n in (12, 13, 14)]
    first, unlucky, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, Transcript)
    assert isinstance(last, Transcript)
    assert isinstance(unlucky, ValueError)


async def test_one_who_leaves_does_not_disturb_the_others() -> None:
    engine = Counter(held=True)
    batcher = Batcher(engine, size=8)
    leaver = asyncio.create_task(batcher.transcribe(utterance(1)))
    stayer = asyncio.create_task(batcher.transcribe(utterance(2)))
    await asyncio.sleep(0)
    leaver.cancel()
    engine.released.set()
    assert (await stayer).text == "2 samples"
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_a_job_finds_what_was_transcribed_ahead_of_it() -> None:
    engine = Counter()
    batcher = Batcher(engine, size=8)
    ahead = await batcher.transcribe_ahead(utterance(5))
    assert ahead is not None
    assert ahead.text == "5 samples"
    assert await batcher.transcribe(utterance(5)) == ahead
    assert engine.batches == [1]
    await batcher.transcribe(utterance(5))  # another job that sounds alike is another job
    assert engine.batches == [1, 1]


async def test_a_job_takes_the_place_of_what_waits_to_be_transcribed_ahead() -> None:
    engine = Counter(held=True)
    batcher = Batcher(engine, size=8)
    first = asyncio.create_task(batcher.transcribe(utterance(1)))
    await asyncio.sleep(0)
    hints = [asyncio.create_task(batcher.transcribe_ahead(utterance(n))) for n in (2, 3)]
    await asyncio.sleep(0)
    jobs = [asyncio.create_task(batcher.transcribe(utterance(n))) for n in (4, 3)]
    await asyncio.sleep(0)
    engine.released.set()
    await first
    alone, taken = await asyncio.gather(*hints)
    assert (alone and alone.text, taken) == ("2 samples", None)
    assert engine.batches == [1, 2, 1]  # what nobody has asked for yet comes last
    assert [t.text for t in await asyncio.gather(*jobs)] == ["4 samples", "3 samples"]


async def test_what_fails_ahead_fails_again_for_its_job() -> None:
    engine = Counter()
    batcher = Batcher(engine, size=8)
    for attempt in (batcher.transcribe_ahead, batcher.transcribe, batcher.transcribe):
        with pytest.raises(ValueError, match="unlucky"):
            await attempt(utterance(13))
    assert engine.batches == [1, 1]  # the first job was told what became of the hint


async def test_of_what_nobody_asks_for_only_the_latest_is_kept() -> None:
    engine = Counter(held=True)
    batcher = Batcher(engine, size=1)
    hints = [asyncio.create_task(batcher.transcribe_ahead(utterance(n))) for n in range(1, 80)]
    await asyncio.sleep(0)
    engine.released.set()
    transcripts = await asyncio.gather(*hints)
    assert [t is None for t in transcripts] == [True] * 15 + [False] * 64


Respond = Literal["if_words", "always", "never"]


async def say(
    pipe: Pipe,
    session: SessionKeys,
    samples: int,
    *,
    respond: Respond = "if_words",
    item: Item | None = None,
) -> SttJob:
    """Ends a turn of the user's, as the VAD stage does, or adds `item`, as a gateway does."""
    job = SttJob(
        session_id=session.session_id,
        item_id=item.item_id if item else new_id("item"),
        turn=1,
        pcm=bytes(2 * samples),
        item=item,
        respond=respond,
        marks={"speech_end": 1},
    )
    item = item or Item.of(job.item_id, "user", status="in_progress", modality="audio")
    await sessions.add_item(pipe, held(session), item)
    stream = session.shard.jobs("stt")
    await pipe.command("XADD", stream, "*", "m", encode(job), "epoch", 0)
    return job


async def test_a_turn_is_transcribed_and_its_answer_begun(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    job = await say(pipe, session, 16_000)
    async with working(start(Counter(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "stt"))
    transcribed, created = await shown(pipe, session)
    assert transcribed == Transcribed(
        item_id=job.item_id, text="16000 samples", language="en", audio_s=1.0
    )
    assert isinstance(created, ResponseCreated)
    [answer] = await jobs_of(pipe, "llm")
    assert isinstance(answer, LlmJob)
    assert answer.response_id == created.response_id
    assert answer.marks.keys() == {"speech_end", "stt_start", "stt_end"}
    item = decode(await pipe.command("HGET", session.items, job.item_id), Item)
    assert (item.text, item.status) == ("16000 samples", "completed")
    order = await pipe.command("LRANGE", session.order, 0, -1)
    assert order == [job.item_id.encode()]  # the answer's is added with its first words


@pytest.mark.parametrize(
    ("languages", "samples", "kept"),
    [(["en", "fr"], 16_000, "en"), (["en"], 16_000, None), (["en", "fr"], 0, None)],
)
async def test_a_turn_keeps_its_language_where_it_could_have_been_another(
    pipe: Pipe, redis_url: str, languages: list[str], samples: int, kept: str | None
) -> None:
    session = await open_session(pipe)
    job = await say(pipe, session, samples)
    async with working(start(Counter(languages=languages), context(pipe, redis_url))):
        await until(lambda: done(pipe, "stt"))
    item = decode(await pipe.command("HGET", session.items, job.item_id), Item)
    assert item.language == kept


async def test_a_silence_that_is_to_be_answered_is(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    await say(pipe, session, 0, respond="always")
    async with working(start(Counter(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "stt"))
    kinds = [type(message) for message in await shown(pipe, session)]
    assert kinds == [Transcribed, ResponseCreated]


async def test_the_words_go_into_the_part_of_the_item_that_waits_for_them(
    pipe: Pipe, redis_url: str
) -> None:
    session = await open_session(pipe)
    parts = [Part(text="Who says this?"), Part(modality="audio")]
    item = Item(item_id=new_id("item"), role="user", status="in_progress", parts=parts)
    await say(pipe, session, 16_000, respond="never", item=item)
    failing = Item(item_id=new_id("item"), role="user", status="in_progress", parts=parts)
    await say(pipe, session, 13, respond="never", item=failing)
    async with working(start(Counter(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "stt"))
    told = await shown(pipe, session)
    (transcribed,) = [message for message in told if isinstance(message, Transcribed)]
    (failed,) = [message for message in told if isinstance(message, TranscriptionFailed)]
    assert (transcribed.item_id, failed.item_id) == (item.item_id, failing.item_id)
    assert transcribed.content_index == failed.content_index == 1
    saved = decode(await pipe.command("HGET", session.items, item.item_id), Item)
    assert saved.parts == [parts[0], Part(modality="audio", text="16000 samples")]


@pytest.mark.parametrize(
    ("samples", "respond", "responds"),
    [
        (16_000, "never", True),
        (0, "if_words", True),
        (16_000, "if_words", False),
        (16_000, "always", False),
    ],
)
async def test_a_turn_that_is_not_to_be_answered_or_has_no_words_begins_nothing(
    pipe: Pipe, redis_url: str, samples: int, respond: Respond, responds: bool
) -> None:
    session = await open_session(pipe, SessionConfig(responds=responds))
    await say(pipe, session, samples, respond=respond)
    async with working(start(Counter(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "stt"))
    assert [type(message) for message in await shown(pipe, session)] == [Transcribed]
    assert await jobs_of(pipe, "llm") == []


async def test_a_turn_that_cannot_be_transcribed_is_told_and_the_others_go_on(
    pipe: Pipe, redis_url: str
) -> None:
    unlucky, lucky = await open_session(pipe), await open_session(pipe)
    job = await say(pipe, unlucky, 13)
    await say(pipe, lucky, 14)
    async with working(start(Counter(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "stt"))
    assert await shown(pipe, unlucky) == [
        TranscriptionFailed(item_id=job.item_id, message="ValueError: an unlucky utterance")
    ]
    assert isinstance((await shown(pipe, lucky))[0], Transcribed)


async def test_a_pause_is_transcribed_ahead_and_the_language_model_told(
    pipe: Pipe, redis_url: str
) -> None:
    session = await open_session(pipe)
    engine = Counter(languages=["en", "fr"])
    shard = session.shard
    async with Redis.from_url(redis_url) as client, client.pubsub() as ears:
        await ears.subscribe(shard.hints("llm"))
        async with working(start(engine, context(pipe, redis_url))):
            hint = SttHint(session_id=session.session_id, pcm=bytes(2 * 1600))
            await until(lambda: hinted(pipe, "stt", hint))
            told = await next_message(ears)
            await say(pipe, session, 1600)
            await until(lambda: done(pipe, "stt"))
    expected = LlmHint(session_id=session.session_id, text="1600 samples", language="en")
    assert decode(told, LlmHint) == expected
    assert engine.batches == [1]
