"""The gateway's parts on a real broker, and a worker that emits what a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from redis.exceptions import ResponseError

from gateway.follower import Follower
from gateway.happenings import AudioOut, ClientEvent, ResponseEnded
from gateway.session import Session
from gateway.wanted import Wanted
from shared.audio import Int16
from shared.broker import Pipe, fields_of
from shared.ids import new_id
from shared.keys import SessionKeys
from shared.lanes import LaneWriter
from shared.messages import (
    AnyItem,
    AudioChunk,
    Command,
    Frame,
    Item,
    LaneEntry,
    LlmJob,
    OutMessage,
    SessionConfig,
    TextDelta,
    TextDone,
    decode,
)
from shared.scripts import jobs, sessions
from shared.scripts.jobs import Emission, Ownership, Status
from tests.stages import KEYSPACE, SOON_S, held, until

GATEWAY = "gw_test"
TOKEN = "token"


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Shown:
    """What a session's client was shown."""

    events: list[ClientEvent] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    @property
    def ended(self) -> list[ResponseEnded]:
        return [event for event in self.events if isinstance(event, ResponseEnded)]

    @property
    def audio(self) -> Int16:
        samples = [event.samples for event in self.events if isinstance(event, AudioOut)]
        return np.concatenate([np.empty(0, np.int16), *samples])

    async def until_heard(self, samples: int) -> None:
        """Waits until so much audio went out, or more."""
        await until(lambda: len(self.audio) >= samples)


class Worker:
    """Works on one response: whatever the stages would emit, in any order."""

    def __init__(self, pipe: Pipe, keys: SessionKeys, owner: Ownership, job: LlmJob) -> None:
        self._pipe = pipe
        self._keys = keys
        self._owner = owner
        self.response_id, self.item_id, self.aside = job.response_id, job.item_id, job.aside
        self._said = 0

    async def emit(self, *messages: OutMessage) -> Status:
        begun = any(isinstance(m, TextDelta) and not m.at for m in messages)
        item = Item.of(self.item_id, "assistant", status="in_progress")
        begins: list[AnyItem] = [item] if begun and not self.aside else []
        begins += [call for m in messages if isinstance(m, TextDone) for call in m.calls]
        emission = Emission(self._keys, self.response_id, messages, begins=begins)
        return await jobs.emit(self._pipe, self._owner, emission)

    def text(self, segment: int, text: str) -> TextDelta:
        at = self._said
        self._said += len(text)
        return TextDelta(response_id=self.response_id, segment=segment, at=at, text=text)

    def audio(
        self, segment: int, samples: Int16, *, offset: int = 0, final: bool = True
    ) -> AudioChunk:
        return AudioChunk(
            response_id=self.response_id,
            segment=segment,
            offset=offset,
            pcm=samples.tobytes(),
            final=final,
        )

    def done(self, segments: int, *, length: bool = False) -> TextDone:
        return TextDone(
            response_id=self.response_id,
            segments=segments,
            finish="length" if length else "stop",
            input_tokens=5,
            output_tokens=7,
            marks={},
        )


@dataclass
class Talk:
    """A session, its clock, and the broker's side of it."""

    session: Session
    clock: Clock
    pipe: Pipe
    lanes: LaneWriter

    async def worker(self) -> Worker:
        """A worker of the language model that takes the session's next job."""
        keys = self.session.keys
        stream = keys.shard.jobs("llm")
        with contextlib.suppress(ResponseError):  # the group exists since the last job
            await self.pipe.command("XGROUP", "CREATE", stream, "llm", "0", "MKSTREAM")
        reply = await self.pipe.command(
            "XREADGROUP", "GROUP", "llm", "worker", "COUNT", 1, "STREAMS", stream, ">"
        )
        [(_, [(entry, flat)])] = reply
        fields = fields_of(flat)
        owner = Ownership(keys.shard, "llm", "worker", entry.decode(), 1, fields[b"epoch"].decode())
        return Worker(self.pipe, keys, owner, decode(fields[b"m"], LlmJob))

    async def respond(self, modality: Literal["audio", "text"] = "audio") -> Worker:
        """Begins a response and returns the worker that has it."""
        assert await self.session.respond(Wanted(modality=modality))
        return await self.worker()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[Shown]:
        """What the client is shown while the block runs."""
        shown = Shown()

        async def follow() -> None:
            async for event in self.session.events():
                shown.events.append(event)

        shown.task = asyncio.create_task(follow())
        try:
            yield shown
        finally:
            shown.task.cancel()
            await asyncio.gather(shown.task, return_exceptions=True)

    async def item(self, item_id: str) -> Item:
        saved = await self.pipe.command("HGET", self.session.keys.items, item_id)
        return decode(saved, Item)

    async def records(self) -> list[Frame | Command]:
        """Everything that was written to the session's lane."""
        await self.lanes.flush()
        stream = KEYSPACE.lane(self.session.keys.session_id).stream
        entries = await self.pipe.command("XRANGE", stream, "-", "+")
        found = [decode(fields_of(fields)[b"m"], LaneEntry) for _, fields in entries]
        return [record for entry in found for record in entry.records]


@asynccontextmanager
async def following(follower: Follower) -> AsyncIterator[Follower]:
    task = asyncio.create_task(follower.run())
    try:
        await asyncio.wait_for(follower.listening.wait(), SOON_S)
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def talking(
    pipe: Pipe,
    follower: Follower,
    config: SessionConfig | None = None,
    *,
    lead_s: float | None = 1.0,
) -> AsyncIterator[Talk]:
    """A new session, closed at the end of the block."""
    config = config or SessionConfig(output_rate=1_000)
    keys = KEYSPACE.session(new_id("sess"))
    hold = held(keys)
    await sessions.attach(pipe, hold, gateway=GATEWAY, token=TOKEN, config=config)
    lanes, clock = LaneWriter(pipe, KEYSPACE), Clock()
    inbox = follower.follow(keys)
    session = Session(
        hold,
        config,
        pipe=pipe,
        lanes=lanes,
        inbox=inbox,
        lead_s=lead_s,
        clock=clock,
    )
    try:
        yield Talk(session, clock, pipe, lanes)
    finally:
        follower.unfollow(inbox)
        await session.close()
        await lanes.flush()
