"""How soon speech begins, alone and beside long segments of other sessions, and what it costs.

    python -m bench.speech
    python -m bench.speech --rounds 5 --json speech.json

A worker with the engine that the settings name speaks the beginnings of answers, of at most eight
words. It is given jobs by a broker of its own; a time is that from a job to its first chunk in the
session's stream.
"""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop
from redis.asyncio import Redis

from bench.load.summary import Spread, spread
from cli.broker import Broker, find_server
from shared.broker import BLOCK_MS, Pipe, answer, connect, stream_entries
from shared.ids import new_id
from shared.keys import Keyspace, SessionKeys
from shared.messages import (
    AudioChunk,
    LlmJob,
    Message,
    ResponseCreated,
    SessionConfig,
    TtsJob,
    decode,
    encode,
)
from shared.scripts import sessions
from shared.scripts.jobs import NewResponse
from shared.scripts.sessions import Attachment
from shared.settings import Settings, settings
from shared.worker import Context
from workers.tts.engines import TtsEngine, create
from workers.tts.worker import start

SHORT = (
    "Sure.",
    "Of course, I can help.",
    "The capital of France is Paris,",
    "That is a very good question indeed.",
    "Once upon a time, there was a",
)
LONG = (
    "There was a ship that had sailed around the world three times, and on each of its journeys its"
    " captain had written down what the weather was like, what the people whom they met had said,"
    " and which of the stars could be seen from the deck at midnight."
)
TOGETHER = (1, 2, 4, 8)
_RATE = 24_000
_KEYSPACE = Keyspace(shards=1, lanes=1)
_PATIENCE_S = 60


class Begun(msgspec.Struct, kw_only=True):
    """What a worker took, in ms: to the first chunk of short segments, alone, beside a long one and
    beside three, to the long one's own first chunk and to its end.

    `cpu_s` are the processor's seconds for a second of speech, by how many short segments are
    spoken at once.
    """

    engine: str
    words: int
    alone: Spread
    beside: Spread
    beside_three: Spread
    long_first: Spread
    long_whole: Spread
    cpu_s: dict[int, float]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A segment: when it began to be heard and when it ended, in ms after it was asked for, and how
    long its speech is."""

    first_ms: float
    whole_ms: float
    seconds: float


@dataclass(slots=True)
class Listener:
    """Somebody who has segments spoken to them."""

    pipe: Pipe
    session: SessionKeys
    response_id: str
    read: str = "0-0"

    @classmethod
    async def open(cls, pipe: Pipe) -> "Listener":
        """A session with a response that has no segments yet."""
        session = _KEYSPACE.session(new_id("sess"))
        held = Attachment(session, "bench")
        await sessions.attach(pipe, held, gateway="bench", token="", config=SessionConfig())
        response_id, item_id = new_id("resp"), new_id("item")
        created = ResponseCreated(response_id=response_id, item_id=item_id, modality="audio")
        job = LlmJob(session_id=session.session_id, response_id=response_id, item_id=item_id)
        await sessions.create_response(pipe, held, NewResponse(response_id, created, job))
        return cls(pipe, session, response_id)

    async def hear(self, url: str, text: str, segment: int = 0) -> Spoken:
        """Has a text spoken and listens to its end. Raises TimeoutError."""
        job = TtsJob(
            session_id=self.session.session_id,
            response_id=self.response_id,
            segment=segment,
            text=text,
            voice=None,
            speed=1.0,
            sample_rate=_RATE,
        )
        chunks: list[tuple[float, AudioChunk]] = []
        async with connect(url) as reader, asyncio.timeout(_PATIENCE_S):
            await reader.ping()
            asked_s = time.perf_counter()
            jobs = self.session.shard.jobs("tts")
            await self.pipe.command("XADD", jobs, "*", "m", encode(job), "epoch", 0)
            async for chunk in self._chunks(reader, segment):
                chunks.append((1000 * (time.perf_counter() - asked_s), chunk))
        samples = sum(len(chunk.pcm) for _, chunk in chunks) // 2
        return Spoken(chunks[0][0], chunks[-1][0], samples / _RATE)

    async def _chunks(self, reader: Redis, segment: int) -> AsyncIterator[AudioChunk]:
        """A segment's, to its last."""
        while True:
            reply = await answer(reader.xread({self.session.out: self.read}, block=BLOCK_MS))
            for _, entries in stream_entries(reply):
                for entry, fields in entries:
                    self.read = entry
                    message = decode(fields[b"m"], Message)
                    if isinstance(message, AudioChunk) and message.segment == segment:
                        yield message
                        if message.final:
                            return


async def measure(engine: TtsEngine, config: Settings, rounds: int) -> Begun:
    """Has each short segment spoken so many times alone, beside a long one and beside three."""
    async with contextlib.AsyncExitStack() as stack:
        pipe = await stack.enter_async_context(Pipe(connect(config.redis_url)))
        context = Context("tts_bench", config, _KEYSPACE, pipe)
        await stack.enter_async_context(_working(engine, context))
        bench = _Bench(pipe, config.redis_url)
        await bench.speak(SHORT[0])  # the worker makes its group
        whole = [await bench.speak(LONG) for _ in range(rounds)]
        alone = await bench.short(rounds)
        async with bench.others(1):
            beside = await bench.short(rounds)
        async with bench.others(3):
            beside_three = await bench.short(rounds)
        cpu_s = {count: await bench.cpu_s(count) for count in TOGETHER}
    return Begun(
        engine=f"{engine.name}: {engine.model}",
        words=max(len(segment.split()) for segment in SHORT),
        alone=_spread(alone),
        beside=_spread(beside),
        beside_three=_spread(beside_three),
        long_first=_spread([spoken.first_ms for spoken in whole]),
        long_whole=_spread([spoken.whole_ms for spoken in whole]),
        cpu_s=cpu_s,
    )


@dataclass(frozen=True, slots=True)
class _Bench:
    """What is measured on a worker at work."""

    pipe: Pipe
    url: str

    async def speak(self, text: str) -> Spoken:
        """To somebody new."""
        return await (await Listener.open(self.pipe)).hear(self.url, text)

    async def short(self, rounds: int) -> list[float]:
        """How long each short segment took to be heard, one after the other."""
        return [(await self.speak(text)).first_ms for _ in range(rounds) for text in SHORT]

    @contextlib.asynccontextmanager
    async def others(self, count: int) -> AsyncIterator[None]:
        """So many others have long segments spoken to them, one after the other, all the while."""

        async def listen() -> None:
            listener = await Listener.open(self.pipe)
            for segment in itertools.count():
                await listener.hear(self.url, LONG, segment)
                heard.release()

        heard = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as tasks:
            listening = [tasks.create_task(listen()) for _ in range(count)]
            await heard.acquire()
            yield
            for task in listening:
                task.cancel()

    async def cpu_s(self, count: int) -> float:
        """The processor's seconds for a second of speech, so many spoken at once."""
        begun_s = time.process_time()
        texts = [SHORT[number % len(SHORT)] for number in range(max(TOGETHER))]
        seconds = 0.0
        for at in range(0, len(texts), count):
            spoken = await asyncio.gather(*map(self.speak, texts[at : at + count]))
            seconds += sum(one.seconds for one in spoken)
        return (time.process_time() - begun_s) / seconds


@contextlib.asynccontextmanager
async def _working(engine: TtsEngine, context: Context) -> AsyncIterator[None]:
    worker = start(engine, context)
    running = asyncio.create_task(worker.run())
    try:
        yield
        await worker.stop()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _spread(values: list[float]) -> Spread:
    found = spread(values)
    assert found is not None
    return found


def main(
    rounds: Annotated[int, typer.Option(help="How often each segment is spoken.", min=1)] = 10,
    json: Annotated[Path | None, typer.Option(help="Where the result goes, as JSON.")] = None,
) -> None:
    config = settings()
    engine = create(config)
    engine.load()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="parley-bench-") as folder,
            Broker(find_server(), Path(folder)) as broker,
        ):
            here = config.model_copy(update={"redis_url": broker.url, "shards": 1, "lanes": 1})
            begun = uvloop.run(measure(engine, here, rounds))
    finally:
        engine.close()
    print(markdown(begun))
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(begun), indent=2))


def markdown(begun: Begun) -> str:
    """The result as two tables."""
    lines = [f"| {begun.engine}: first chunk, ms | p50 | p95 | most |", "| --- | --- | --- | --- |"]
    for name, found in (
        (f"of at most {begun.words} words", begun.alone),
        ("the same, beside a long segment", begun.beside),
        ("the same, beside three", begun.beside_three),
        ("of the long segment", begun.long_first),
        ("its last chunk", begun.long_whole),
    ):
        lines.append(f"| {name} | {found.p50:.0f} | {found.p95:.0f} | {found.most:.0f} |")
    lines += ["", "| spoken at once | CPU s for a second of speech |", "| --- | --- |"]
    lines += [f"| {count} | {cpu_s:.3f} |" for count, cpu_s in begun.cpu_s.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
