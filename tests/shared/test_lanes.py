"""Lanes: order, ownership, and moving without a gap."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import heartbeat, lanes
from shared.broker import Pipe, connect, stream_entries
from shared.heartbeat import WorkerInfo
from shared.keys import Keyspace
from shared.lanes import Checkpoint, LaneKeeper, LaneWriter, OwnedLane, before, earlier
from shared.messages import Command, Frame, Item, LaneEntry, SessionConfig, SpeechStarted, decode
from shared.scripts import sessions
from shared.scripts.lanes import Heard, Saved, acquire_lane, checkpoint_lane, emit_lane, hold_lane
from tests.stages import held, until

KEYSPACE = Keyspace(shards=2, lanes=4)

entry_ids = st.builds("{}-{}".format, st.integers(0, 2**44), st.integers(0, 2**64 - 1))


def order(entry: str) -> tuple[int, ...]:
    return tuple(map(int, entry.split("-")))


@given(entry_ids)
def test_before_is_the_next_smaller_id(entry: str) -> None:
    milliseconds, sequence = order(entry)
    if (milliseconds, sequence) == (0, 0):
        assert before(entry) == "0-0"
        return
    previous = order(before(entry))
    assert previous < (milliseconds, sequence)
    assert previous in [(milliseconds, sequence - 1), (milliseconds - 1, 2**64 - 1)]


@given(st.lists(entry_ids, min_size=1))
def test_earlier_compares_ids_as_numbers(entries: list[str]) -> None:
    assert order(earlier(entries)) == min(map(order, entries))


# --- writing ---


async def records_of(pipe: Pipe) -> dict[str, list[Frame | Command]]:
    """Everything in all lanes, by session, in each lane's order."""
    found: dict[str, list[Frame | Command]] = {}
    for lane in KEYSPACE.all_lanes():
        reply = await pipe.command("XREAD", "STREAMS", lane.stream, "0")
        for _, entries in stream_entries(reply):
            for _, fields in entries:
                for record in decode(fields[b"m"], LaneEntry).records:
                    assert KEYSPACE.lane(record.session_id) == lane
                    found.setdefault(record.session_id, []).append(record)
    return found


async def test_a_hundred_sessions_keep_their_order(pipe: Pipe) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    names = [f"sess_{number}" for number in range(100)]
    for at in range(0, 50 * 320, 320):
        for name in names:
            writer.append(Frame(name, at, b"\1\0" * 320, 0))
        writer.append(Command(names[at // 320], at, "commit"))
        await asyncio.sleep(0)
    assert writer.waiting_bytes > 0
    await writer.flush()
    assert writer.waiting_bytes == 0
    found = await records_of(pipe)
    for number, name in enumerate(names):
        frames = [record for record in found[name] if isinstance(record, Frame)]
        assert [frame.at for frame in frames] == list(range(0, 50 * 320, 320))
        if number < 50:
            place = next(i for i, r in enumerate(found[name]) if isinstance(r, Command))
            assert place == number + 1


async def test_writes_grow_with_lanes_not_with_frames(pipe: Pipe) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    for at in range(100):
        for number in range(50):
            writer.append(Frame(f"sess_{number}", at, b"\1\0", 0))
    await writer.flush()
    entries = 0
    for lane in KEYSPACE.all_lanes():
        entries += int(await pipe.command("XLEN", lane.stream))
    assert entries <= 2 * len(KEYSPACE.all_lanes())


# --- owning ---


async def test_only_one_owner_at_a_time_and_every_owner_has_a_greater_token(pipe: Pipe) -> None:
    [lane, *_] = KEYSPACE.all_lanes()
    first = await acquire_lane(pipe, lane, "vad_1", 60_000)
    assert first > 0
    assert await acquire_lane(pipe, lane, "vad_2", 60_000) == 0
    assert await hold_lane(pipe, lane, "vad_1", first, 60_000) == "ok"
    assert await hold_lane(pipe, lane, "vad_1", first, 0) == "ok"
    second = await acquire_lane(pipe, lane, "vad_2", 60_000)
    assert second > first
    assert await hold_lane(pipe, lane, "vad_1", first, 60_000) == "lost"
    assert await pipe.command("GET", lane.lease) == b"vad_2"


async def test_an_owner_whose_lease_ran_out_keeps_a_lane_that_nobody_took(pipe: Pipe) -> None:
    [lane, *_] = KEYSPACE.all_lanes()
    token = await acquire_lane(pipe, lane, "vad_1", 60_000)
    await pipe.command("DEL", lane.lease)
    assert await hold_lane(pipe, lane, "vad_1", token, 60_000) == "ok"
    assert await acquire_lane(pipe, lane, "vad_2", 60_000) == 0


async def test_a_former_owner_is_fenced_and_nothing_is_emitted_twice(pipe: Pipe) -> None:
    session = KEYSPACE.session("sess_1")
    lane = KEYSPACE.lane("sess_1")
    await sessions.attach(pipe, held(session), gateway="gw", token="t", config=SessionConfig())
    token = await acquire_lane(pipe, lane, "vad_1", 60_000)
    started = SpeechStarted(item_id="item_1", turn=1, at=320)
    item = Item.of(item_id="item_1", role="user", modality="audio")
    heard = Heard(session, 1, b"state", [started], interrupts=True, item=item)
    assert await emit_lane(pipe, lane, token, heard) == "ok"
    assert await emit_lane(pipe, lane, token, heard) == "repeat"
    await pipe.command("DEL", lane.lease)
    later = await acquire_lane(pipe, lane, "vad_2", 60_000)
    heard = Heard(session, 2, b"state", [started])
    assert await emit_lane(pipe, lane, token, heard) == "fenced"
    assert await checkpoint_lane(pipe, lane, token, "1-0", {}, []) == "fenced"
    assert await emit_lane(pipe, lane, later, heard) == "ok"
    assert int(await pipe.command("XLEN", session.out)) == 2
    assert await pipe.command("HGET", session.state, "epoch") == b"1"
    assert await pipe.command("LRANGE", session.order, 0, -1) == [b"item_1"]
    await sessions.close(pipe, held(session))
    gone = Heard(session, 3, b"state", [started])
    assert await emit_lane(pipe, lane, later, gone) == "gone"


# --- a keeper and its successors ---


@dataclass
class Recorder:
    """A stage that notes the positions of the frames it got, and saves how far it is."""

    got: dict[str, list[int]] = field(default_factory=dict)
    lanes: dict[str, OwnedLane] = field(default_factory=dict)

    def adopt(self, lane: OwnedLane, states: Mapping[str, bytes]) -> None:
        self.lanes[lane.lane.stream] = lane
        for session_id, state in states.items():
            self.got[session_id] = list(range(0, int(state), 320))

    async def process(self, entries: Sequence[tuple[OwnedLane, str, LaneEntry]]) -> None:
        for _, _, message in entries:
            for record in message.records:
                positions = self.got.setdefault(record.session_id, [])
                if record.at == 320 * len(positions):
                    positions.append(record.at)

    async def checkpoint(self, lane: OwnedLane) -> Checkpoint:
        mine = {
            session_id: Saved(0, str(320 * len(positions)).encode())
            for session_id, positions in self.got.items()
            if KEYSPACE.lane(session_id) == lane.lane
        }
        return Checkpoint(lane.read, mine)

    def drop(self, lane: OwnedLane) -> None:
        del self.lanes[lane.lane.stream]


@asynccontextmanager
async def keeping(
    pipe: Pipe, url: str, name: str
) -> AsyncIterator[tuple[Recorder, LaneKeeper, "asyncio.Task[None]"]]:
    reader = connect(url)
    recorder = Recorder()
    keeper = LaneKeeper(recorder, KEYSPACE, pipe=pipe, reader=reader, owner=name)
    info = WorkerInfo(worker_id=name, stage="vad", ready=True)
    await heartbeat.sign_in(pipe, info)
    beat = asyncio.create_task(heartbeat.keep_signing_in(pipe, lambda: info))
    task = asyncio.create_task(keeper.run())
    try:
        yield recorder, keeper, task
        await keeper.stop()
        await asyncio.gather(task, return_exceptions=True)
    finally:
        beat.cancel()
        task.cancel()
        await asyncio.gather(beat, task, return_exceptions=True)
        await heartbeat.sign_off(pipe, name)
        await reader.aclose()


def write(writer: LaneWriter, names: list[str], start: int, count: int) -> None:
    for at in range(start * 320, (start + count) * 320, 320):
        for name in names:
            writer.append(Frame(name, at, b"\1\0" * 320, 0))


def complete(recorders: list[Recorder], names: list[str], count: int) -> bool:
    """Whether each session's frames are all known to one of the recorders."""
    return all(any(len(r.got.get(name, [])) == count for r in recorders) for name in names)


NAMES = [f"sess_{number}" for number in range(24)]


async def test_a_lone_keeper_reads_every_lane_from_its_beginning(
    pipe: Pipe, redis_url: str
) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    write(writer, NAMES, 0, 5)
    await writer.flush()
    async with keeping(pipe, redis_url, "vad_1") as (recorder, keeper, _):
        await until(lambda: len(keeper.owned) == 8)
        await until(lambda: complete([recorder], NAMES, 5))


async def test_lanes_spread_evenly_and_move_without_a_gap(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    async with keeping(pipe, redis_url, "vad_1") as (first, one, _):
        await until(lambda: len(one.owned) == 8)
        write(writer, NAMES, 0, 5)
        async with keeping(pipe, redis_url, "vad_2") as (second, two, _):
            write(writer, NAMES, 5, 5)
            await until(lambda: len(one.owned) == len(two.owned) == 4)
            write(writer, NAMES, 10, 5)
            await until(lambda: complete([first, second], NAMES, 15))
        await until(lambda: len(one.owned) == 8)
        write(writer, NAMES, 15, 5)
        await until(lambda: complete([first], NAMES, 20))


async def test_a_dead_owners_lanes_are_replayed_from_the_checkpoint(
    pipe: Pipe, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_CHECKPOINT_S", 0.2)
    writer = LaneWriter(pipe, KEYSPACE)
    async with keeping(pipe, redis_url, "vad_1") as (first, _, task):
        write(writer, NAMES, 0, 5)
        await until(lambda: complete([first], NAMES, 5))
        task.cancel()  # no checkpoint, no release: as kill -9 leaves it
    write(writer, NAMES, 5, 5)
    async with keeping(pipe, redis_url, "vad_2") as (second, keeper, _):
        await until(lambda: len(keeper.owned) == 8)
        await until(lambda: complete([second], NAMES, 10))


async def test_what_lies_before_the_checkpoint_is_trimmed(pipe: Pipe, redis_url: str) -> None:
    writer = LaneWriter(pipe, KEYSPACE)
    async with keeping(pipe, redis_url, "vad_1") as (recorder, keeper, _):
        await until(lambda: len(keeper.owned) == 8)
        for round_number in range(20):
            write(writer, NAMES, round_number, 1)
            await writer.flush()
        await until(lambda: complete([recorder], NAMES, 20))
    for lane in KEYSPACE.all_lanes():
        assert int(await pipe.command("XLEN", lane.stream)) <= 1
