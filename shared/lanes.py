"""The lane runtime: which lanes a worker owns, what it reads from them, where a successor begins.

A lane is a stream that many sessions share and exactly one VAD worker reads. Ownership is a
lease; the fencing token that comes with it makes a former owner's writes fail. Workers divide
the lanes evenly among those that are ready, and give up what is beyond their share after a
checkpoint, so that a lane moves without a gap.
"""

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.audio import SAMPLE_RATE
from shared.broker import Pipe, answer, fields_of, persist, stream_entries
from shared.heartbeat import living
from shared.keys import Keyspace, Lane
from shared.leases import LEASE_MS, ROUND_S, Standstill
from shared.messages import Command, Frame, LaneEntry, MessageError, decode, encode
from shared.metrics.audio import AUDIO, FRAMES
from shared.metrics.work import Measured
from shared.queueing import Queueing
from shared.scripts import lanes as scripts
from shared.scripts.lanes import Saved

_CHECKPOINT_S = 2.0
_READ_ENTRIES = 64
_READ_BLOCK_MS = 1_000
_LAST_READ_S = 3.0
_GIVE_UP_S = 3.0
# The last bound of a lane nobody reads; a live owner trims behind its checkpoint.
_LANE_ENTRIES = 20_000
# Audio in one entry: what gathers while the broker is away must not become one huge write.
_ENTRY_BYTES = 2**20
_BYTES_PER_S = 2 * SAMPLE_RATE
# How long a writer that has written collects more, for all lanes: a write costs a pipeline here and
# a wake-up in the VAD worker, whatever is in it.
_BEAT_S = 0.004
# Whose lane a writer remembers: more sessions than one gateway serves.
_SESSIONS = 4_096

log = logging.getLogger(__name__)


def before(entry: str) -> str:
    """The greatest id smaller than `entry`: reading after it begins with `entry`."""
    milliseconds, _, sequence = entry.partition("-")
    if int(sequence) > 0:
        return f"{milliseconds}-{int(sequence) - 1}"
    return f"{int(milliseconds) - 1}-{2**64 - 1}" if int(milliseconds) > 0 else "0-0"


def earlier(entries: Sequence[str]) -> str:
    """The smallest of some entry ids."""
    return min(entries, key=lambda entry: tuple(map(int, entry.split("-"))))


@dataclass(slots=True)
class OwnedLane:
    """A lane in its owner's hands: `read` is the last entry read."""

    lane: Lane
    token: int
    read: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """From where a successor goes on: the entry to replay from, the sessions' states there."""

    entry: str
    states: Mapping[str, Saved]
    ended: Sequence[str] = ()


class LaneStage(Protocol):
    """What the VAD worker does with its lanes."""

    def adopt(self, lane: OwnedLane, states: Mapping[str, bytes]) -> None:
        """Begins with a lane, from its sessions' states at the checkpoint."""
        ...

    async def process(self, entries: Sequence[tuple[OwnedLane, str, LaneEntry]]) -> None:
        """Takes in entries, in each lane's order."""
        ...

    async def checkpoint(self, lane: OwnedLane) -> Checkpoint:
        """Where a successor would have to begin now."""
        ...

    def drop(self, lane: OwnedLane) -> None:
        """Forgets a lane and its sessions."""
        ...


class LaneKeeper:
    """Keeps a worker's fair share of all lanes and feeds them to its stage."""

    def __init__(
        self, stage: LaneStage, keyspace: Keyspace, *, pipe: Pipe, reader: Redis, owner: str
    ) -> None:
        self._stage = stage
        self._lanes = keyspace.all_lanes()
        self._pipe = pipe
        self._reader = reader
        self._owner = owner
        self._owned: dict[str, OwnedLane] = {}
        self._standstill = Standstill()
        self._measured = Measured("vad")
        self.queueing = Queueing()
        self._reading: asyncio.Task[None] | None = None
        self._stopping = False
        self._turn = asyncio.Lock()  # a lane moves only between two batches

    @property
    def owned(self) -> list[OwnedLane]:
        return list(self._owned.values())

    async def run(self) -> None:
        """Reads its lanes until stopped, then checkpoints and gives them up."""
        async with asyncio.TaskGroup() as tasks:
            keepers = [
                tasks.create_task(self._every(ROUND_S, self._hold), name="lane leases"),
                tasks.create_task(self._every(ROUND_S, self._balance), name="lane shares"),
                tasks.create_task(self._every(_CHECKPOINT_S, self._save), name="checkpoints"),
                tasks.create_task(self._every(ROUND_S, self._tell_time), name="broker's clock"),
            ]
            self._reading = tasks.create_task(self._read_on(), name="lanes")
            await asyncio.wait({self._reading})
            for keeper in keepers:
                keeper.cancel()
        if not self._reading.cancelled():  # else what was heard was not emitted: to be replayed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GIVE_UP_S), self._turn:
                    for lane in self.owned:
                        await self._give_up(lane)

    async def stop(self) -> None:
        """Ends `run` after the batch at hand; without a broker, the leases run out."""
        self._stopping = True
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_LAST_READ_S)
            self._reading.cancel()

    def lost(self, lane: OwnedLane) -> None:
        """The broker refused this owner's token: the lane has another owner."""
        if self._disown(lane):
            log.warning("lane %s has another owner now", lane.lane.stream)
            self._stage.drop(lane)

    async def _read_on(self) -> None:
        while not self._stopping:
            await self._read()

    async def _read(self) -> None:
        positions = {lane.lane.stream: lane.read for lane in self.owned}
        if not positions:
            await asyncio.sleep(ROUND_S / 5)
            return
        reply = await persist(
            lambda: answer(
                self._reader.xread(
                    positions,  # type: ignore[arg-type]
                    count=_READ_ENTRIES,
                    block=_READ_BLOCK_MS,
                )
            )
        )
        async with self._turn:
            batch = []
            for stream, entries in stream_entries(reply):
                lane = self._owned.get(stream)
                if lane is None or lane.read != positions[stream]:
                    continue  # it moved while the read was waiting
                for entry, fields in entries:
                    lane.read = entry
                    try:
                        batch.append((lane, entry, decode(fields[b"m"], LaneEntry)))
                    except (MessageError, KeyError) as error:
                        log.error("lane entry %s was skipped: %s", entry, error)
            if batch:
                await self._process(batch)

    async def _process(self, batch: Sequence[tuple[OwnedLane, str, LaneEntry]]) -> None:
        """Has the stage hear a batch, which waits until it is heard."""
        oldest = earlier([entry for _, entry, _ in batch])
        self.queueing.takes(oldest)
        try:
            with self._measured.work(oldest):
                await self._stage.process(batch)
            self.queueing.began(oldest)
        finally:
            self.queueing.gone(oldest)

    async def _tell_time(self) -> None:
        seconds, micros = await self._pipe.command("TIME")
        self.queueing.tell(int(seconds) * 1000 + int(micros) // 1000)

    async def _every(self, interval_s: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await step()
            await asyncio.sleep(interval_s)

    async def _hold(self) -> None:
        lanes = self.owned
        held = await asyncio.gather(
            *(
                scripts.hold_lane(self._pipe, lane.lane, self._owner, lane.token, LEASE_MS)
                for lane in lanes
            )
        )
        for lane, status in zip(lanes, held, strict=True):
            if status == "lost":
                self.lost(lane)

    async def _balance(self) -> None:
        alive = await living(self._pipe, LEASE_MS)
        if self._stopping or not self._standstill.over():
            return
        peers = sum(worker.stage == "vad" and worker.ready for worker in alive)
        share = math.ceil(len(self._lanes) / max(peers, 1))
        async with self._turn:
            for lane in self.owned[share:]:
                await self._give_up(lane)
        for candidate in self._lanes:
            if len(self._owned) >= share:
                break
            if candidate.stream not in self._owned:
                await self._take(candidate)

    async def _take(self, lane: Lane) -> None:
        token = await scripts.acquire_lane(self._pipe, lane, self._owner, LEASE_MS)
        if not token:
            return
        saved = fields_of(await self._pipe.command("HGETALL", lane.checkpoint))
        states = {key.decode(): value for key, value in saved.items()}
        entry = states.pop(scripts.CHECKPOINT_ENTRY.decode(), b"").decode()
        owned = OwnedLane(lane, token, before(entry) if entry else "0-0")
        self._stage.adopt(owned, states)
        self._owned[lane.stream] = owned
        if entry:
            self._measured.takeovers.inc()
        log.debug("took lane %s from %s with %d sessions", lane.stream, owned.read, len(states))

    async def _save(self) -> None:
        async with self._turn:
            for lane in self.owned:
                await self._checkpoint(lane)

    async def _checkpoint(self, lane: OwnedLane) -> None:
        if lane.read == "0-0":
            return
        point = await self._stage.checkpoint(lane)
        status = await scripts.checkpoint_lane(
            self._pipe, lane.lane, lane.token, point.entry, point.states, point.ended
        )
        if status == "fenced":
            self.lost(lane)

    def _disown(self, lane: OwnedLane) -> bool:
        """Whether the lane was owned until now; one taken anew since is another."""
        if self._owned.get(lane.lane.stream) is not lane:
            return False
        del self._owned[lane.lane.stream]
        return True

    async def _give_up(self, lane: OwnedLane) -> None:
        await self._checkpoint(lane)
        if not self._disown(lane):
            return
        self._stage.drop(lane)
        await scripts.hold_lane(self._pipe, lane.lane, self._owner, lane.token, 0)


_Mark: TypeAlias = asyncio.Future[None]
_Waiting: TypeAlias = Frame | Command | _Mark


class LaneWriter:
    """Appends frames and commands to lanes by group commit.

    While a lane's write is in flight its next entry accumulates, and all lanes are written in the
    same moments, a few milliseconds apart where there is much to write. So broker commands per
    second grow with lanes, not with sessions times frames, and pipelines not even with lanes. A
    write is tried again for as long as the broker is away or takes none, and nothing overtakes it.
    `waiting_bytes` is the audio that the broker has not taken yet; callers bound it.
    """

    def __init__(self, pipe: Pipe, keyspace: Keyspace) -> None:
        self._pipe = pipe
        self._stream = lru_cache(_SESSIONS)(lambda session: keyspace.lane(session).stream)
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._beat_s = 0.0
        self._frames, self._audio = FRAMES.labels("in"), AUDIO.labels("in")
        self.waiting_bytes = 0

    def append(self, record: Frame | Command) -> None:
        """Takes a record; it reaches its lane after every record appended before it."""
        stream = self._stream(record.session_id)
        self._waiting.setdefault(stream, deque()).append(record)
        self.waiting_bytes += _size(record)
        if stream not in self._writers:
            # It goes on with other sessions' records: its log concerns no one of them.
            writer = asyncio.create_task(
                self._write(stream), name=f"write {stream}", context=Context()
            )
            self._writers[stream] = writer

    async def written(self, session_id: str) -> None:
        """Waits until the broker has what was appended to the session's lane so far."""
        stream = self._stream(session_id)
        if stream in self._writers:
            mark: _Mark = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(stream, deque()).append(mark)
            await mark

    async def flush(self) -> None:
        """Waits until everything appended so far has been written; cancelled, it gives it up."""
        await asyncio.gather(*self._writers.values())

    async def _write(self, stream: str) -> None:
        try:
            while waiting := self._waiting.get(stream):
                first = waiting[0]
                if isinstance(first, asyncio.Future):
                    waiting.popleft()
                    if not first.done():  # whoever asked was cancelled meanwhile
                        first.set_result(None)
                else:
                    await self._beat()
                    await self._put(stream, _next_entry(waiting))
        finally:
            del self._writers[stream]
            for left in self._waiting.pop(stream, ()):
                self.waiting_bytes -= _size(left)
                if isinstance(left, asyncio.Future):
                    left.cancel()

    async def _beat(self) -> None:
        """Waits for the next moment in which lanes are written."""
        loop = asyncio.get_running_loop()
        if (left_s := self._beat_s - loop.time()) > 0:
            await asyncio.sleep(left_s)
        self._beat_s = max(self._beat_s, loop.time() + _BEAT_S)

    async def _put(self, stream: str, records: list[Frame | Command]) -> None:
        entry = encode(LaneEntry(records=records))
        command = ("XADD", stream, "MAXLEN", "~", _LANE_ENTRIES, "*", "m", entry)
        try:
            await persist(lambda: self._pipe.command(*command))
        except RedisError as error:
            # nobody waits for a frame: its listeners hear silence in its place
            log.error("%d records for %s were lost: %s", len(records), stream, error)
        finally:
            size = sum(map(_size, records))
            self.waiting_bytes -= size
            self._frames.inc(len(records))
            self._audio.inc(size / _BYTES_PER_S)


def _next_entry(waiting: deque[_Waiting]) -> list[Frame | Command]:
    """Takes the records of the next entry: up to its size, or to the next mark."""
    records: list[Frame | Command] = []
    size = 0
    while waiting and size < _ENTRY_BYTES:
        first = waiting[0]
        if isinstance(first, asyncio.Future):
            break
        size += _size(first)
        records.append(first)
        waiting.popleft()
    return records


def _size(waiting: _Waiting) -> int:
    return len(waiting.pcm) if isinstance(waiting, Frame) else 0
