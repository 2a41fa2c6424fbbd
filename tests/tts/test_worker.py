"""The TTS stage: chunks go out while the engine is still at work."""

import asyncio
import threading
from collections.abc import Iterator

import numpy as np

from shared.audio import Int16
from shared.broker import Pipe
from shared.keys import SessionKeys
from shared.messages import AudioChunk, ResponseFailed, TtsHint, TtsJob, encode
from shared.scripts import sessions
from tests.stages import (
    KEYSPACE,
    ask,
    context,
    done,
    held,
    hinted,
    open_session,
    shown,
    until,
    working,
)
from workers.tts.engines import Speech, Voice
from workers.tts.turns import Segment, Turns
from workers.tts.worker import in_turns, start


class Metronome:
    """Speaks a segment as chunks of 100 samples, one for each word; waits at `hold` chunks."""

    model = name = "metronome"

    def __init__(self, hold: int | None = None, *, works_ahead: bool = True) -> None:
        self.hold = hold
        self.works_ahead = works_ahead
        self.texts: list[str] = []
        self.voices = [Voice("metronome", "en")]
        self.released = threading.Event()
        self.closed = threading.Event()

    def load(self) -> None:
        pass

    def close(self) -> None:
        pass

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        self.texts.append(speech.text)
        try:
            for number, _ in enumerate(speech.text.split()):
                if number == self.hold:
                    self.released.wait(10)
                yield np.full(100, number, np.int16)
        finally:
            self.closed.set()


async def speak(
    pipe: Pipe, text: str, language: str | None = None, session: SessionKeys | None = None
) -> TtsJob:
    """Begins a response and gives its only segment to be spoken."""
    session = session or await open_session(pipe)
    response = await ask(pipe, session, "Say it.")
    job = TtsJob(
        session_id=session.session_id,
        response_id=response.response_id,
        segment=0,
        text=text,
        voice=None,
        speed=1.0,
        sample_rate=16_000,
        language=language,
        marks={"speech_end": 1},
    )
    stream = session.shard.jobs("tts")
    await pipe.command("XADD", stream, "*", "m", encode(job), "epoch", 0)
    return job


async def chunks_of(pipe: Pipe, job: TtsJob) -> list[AudioChunk]:
    messages = await shown(pipe, KEYSPACE.session(job.session_id))
    return [message for message in messages if isinstance(message, AudioChunk)]


async def test_chunks_come_in_order_with_their_offsets(pipe: Pipe, redis_url: str) -> None:
    job = await speak(pipe, "one two three")
    async with working(start(Metronome(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "tts"))
    chunks = await chunks_of(pipe, job)
    assert [(chunk.offset, len(chunk.pcm), chunk.final) for chunk in chunks] == [
        (0, 200, False),
        (100, 200, False),
        (200, 200, False),
        (300, 0, True),
    ]
    assert chunks[0].marks.keys() == {"speech_end", "tts_start", "tts_first_chunk"}
    assert all(not chunk.marks for chunk in chunks[1:])


async def test_a_chunk_goes_out_while_the_next_is_made(pipe: Pipe, redis_url: str) -> None:
    engine = Metronome(hold=1)
    job = await speak(pipe, "one two three")

    async def one_is_out() -> bool:
        return len(await chunks_of(pipe, job)) == 1

    async with working(start(engine, context(pipe, redis_url))):
        await until(one_is_out)
        engine.released.set()
        await until(lambda: done(pipe, "tts"))


async def test_a_segment_with_nothing_to_say_is_over_at_once(pipe: Pipe, redis_url: str) -> None:
    job = await speak(pipe, "***")
    async with working(start(Metronome(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "tts"))
    [chunk] = await chunks_of(pipe, job)
    assert (chunk.pcm, chunk.final) == (b"", True)


async def test_a_language_without_a_voice_ends_the_response_at_once(
    pipe: Pipe, redis_url: str
) -> None:
    job = await speak(pipe, "un deux", language="fr")
    async with working(start(Metronome(), context(pipe, redis_url))):
        await until(lambda: done(pipe, "tts"))
    *_, failed = await shown(pipe, KEYSPACE.session(job.session_id))
    assert isinstance(failed, ResponseFailed)
    assert "no voice speaks 'fr'" in failed.message


async def test_an_interruption_closes_the_engines_generator(pipe: Pipe, redis_url: str) -> None:
    engine = Metronome(hold=1)
    job = await speak(pipe, "one two three")

    async def one_is_out() -> bool:
        return len(await chunks_of(pipe, job)) == 1

    async with working(start(engine, context(pipe, redis_url))):
        await until(one_is_out)
        await sessions.interrupt(pipe, held(KEYSPACE.session(job.session_id)))
        engine.released.set()
        await until(lambda: done(pipe, "tts"))
        assert await asyncio.to_thread(engine.closed.wait, 10)
    assert len(await chunks_of(pipe, job)) == 1


async def test_what_is_spoken_ahead_is_not_spoken_again(pipe: Pipe, redis_url: str) -> None:
    session, engine = await open_session(pipe), Metronome()
    async with working(start(engine, context(pipe, redis_url))):
        hint = TtsHint(
            session_id=session.session_id,
            text="one two",
            voice=None,
            speed=1.0,
            sample_rate=16_000,
        )
        await until(lambda: hinted(pipe, "tts", hint))
        assert await asyncio.to_thread(engine.closed.wait, 10)
        await speak(pipe, "something else")
        job = await speak(pipe, "one two", session=session)
        await until(lambda: done(pipe, "tts"))
    chunks = await chunks_of(pipe, job)
    assert [(chunk.offset, chunk.final) for chunk in chunks] == [
        (0, False),
        (100, False),
        (200, True),
    ]
    assert sorted(engine.texts) == ["one two", "something else"]


async def test_what_costs_something_is_not_spoken_ahead(pipe: Pipe, redis_url: str) -> None:
    engine = Metronome(works_ahead=False)
    [shard] = KEYSPACE.all_shards()

    async def listeners(channel: str) -> int:
        _, count = await pipe.command("PUBSUB", "NUMSUB", channel)
        return int(count)

    async def listening() -> bool:
        return await listeners(shard.control) == 1

    async with working(start(engine, context(pipe, redis_url))):
        await until(listening)
        assert await listeners(shard.hints("tts")) == 0


async def test_closing_waits_for_the_step_at_hand() -> None:
    engine = Metronome(hold=1)
    speech = engine.synthesize(Speech("one two", None, 1.0, 16_000))
    chunks = in_turns(speech, Turns(1), Segment("sess_1"))
    assert (await anext(chunks))[0] == 0
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    waiting.cancel()
    engine.released.set()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await asyncio.to_thread(engine.closed.wait, 10)
