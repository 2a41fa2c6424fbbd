"""Workers that stand still for longer than their lease and then go on: while they do, others
finish their work; when they come back they change nothing, and are as good as new."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bench.chaos import system
from bench.chaos.conversation import Conversation
from bench.chaos.record import Progress
from bench.chaos.system import System
from cli.broker import find_server
from shared.broker import Pipe, fields_of
from shared.heartbeat import WorkerInfo
from shared.leases import LEASE_MS
from shared.messages import Message, decode
from tests.support.talking import (
    KEYSPACE,
    broker_of,
    evenly_spread,
    eventually,
    lane_owners,
    standing_still,
    talking,
    workers_of,
)

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

# Long enough that a signal finds a worker in the middle of its work.
PACE = {"profile": "paced", "paced_stt_ms": "4000", "paced_token_ms": "120", "paced_tts_speed": "1"}

MIDDLE: dict[str, Progress] = {"stt": "committed", "llm": "text", "tts": "audio"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A gateway and two workers of each stage."""
    folder = tmp_path_factory.mktemp("s")
    surprises: list[str] = []
    async with system.running(folder, find_server(), 1, 2, surprises.append, **PACE) as running:
        yield running
    assert surprises == []


@pytest_asyncio.fixture(loop_scope="module")
async def pipe(served: System) -> AsyncIterator[Pipe]:
    async with broker_of(served) as opened:
        yield opened


def reached(conversation: Conversation, step: Progress, turn: int = 0) -> bool:
    """Whether a turn of the conversation has come so far."""
    exchanges = conversation.record.exchanges
    return len(exchanges) > turn and step in [name for _, name in exchanges[turn].progress]


async def holders(pipe: Pipe, stage: str) -> set[str]:
    """The workers that have a job of the stage, or the conversation's lane."""
    if stage == "vad":
        return set(await lane_owners(pipe))
    stream = KEYSPACE.all_shards()[0].jobs(stage)
    rows = await pipe.command("XPENDING", stream, stage, "-", "+", 100)
    return {consumer.decode() for _, consumer, _, _ in rows}


async def in_the_middle(conversation: Conversation, pipe: Pipe, stage: str) -> bool:
    """Whether the stage works on the first turn: its jobs may be queued before they are taken."""
    return reached(conversation, MIDDLE[stage]) and bool(await holders(pipe, stage))


async def leases_ran_out(pipe: Pipe, stage: str) -> bool:
    """Whether every job of the stage was without a sign of life for longer than a lease."""
    if stage == "vad":
        return await lane_owners(pipe) == []
    stream = KEYSPACE.all_shards()[0].jobs(stage)
    rows = await pipe.command("XPENDING", stream, stage, "-", "+", 100)
    return bool(rows) and all(idle_ms > LEASE_MS for _, _, idle_ms, _ in rows)


async def emitted(pipe: Pipe, conversation: Conversation) -> list[bytes]:
    """The names of what was emitted of the first response."""
    response_id = conversation.record.responses[0].response_id
    out = KEYSPACE.session(conversation.record.session_id).out
    rows = await pipe.command("XRANGE", out, "-", "+")
    messages = [(name, decode(fields_of(flat)[b"m"], Message)) for name, flat in rows]
    return [name for name, m in messages if getattr(m, "response_id", None) == response_id]


async def is_back(pipe: Pipe, zombie: WorkerInfo) -> bool:
    """Whether a worker lives again and has nothing at hand."""
    there = (await workers_of(pipe, zombie.stage, within_ms=1_000)).get(zombie.worker_id)
    return there is not None and there.load == 0


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
async def test_a_zombies_job_is_finished_by_another(served: System, pipe: Pipe, stage: str) -> None:
    async with talking(served, pipe, turns=2) as conversation:
        await eventually(lambda: in_the_middle(conversation, pipe, stage))
        workers = await workers_of(pipe, stage)
        zombie = workers.pop((await holders(pipe, stage)).pop())
        with standing_still(zombie.pid):
            assert zombie.worker_id in await holders(pipe, stage)
            await eventually(lambda: reached(conversation, "done"))
            before = await emitted(pipe, conversation)
        await eventually(lambda: is_back(pipe, zombie))
        assert await emitted(pipe, conversation) == before
        # and is as good as any other
        with standing_still(*(other.pid for other in workers.values())):
            await eventually(lambda: reached(conversation, "done", turn=1))


async def test_a_zombies_lanes_are_heard_by_another(served: System, pipe: Pipe) -> None:
    await eventually(lambda: evenly_spread(pipe))
    async with talking(served, pipe, turns=2) as conversation:
        await eventually(lambda: speaks(conversation))
        lease = KEYSPACE.lane(conversation.record.session_id).lease
        workers = await workers_of(pipe, "vad")
        zombie = workers.pop((await pipe.command("GET", lease)).decode())
        with standing_still(zombie.pid):
            await eventually(lambda: reached(conversation, "done"))
            assert (await pipe.command("GET", lease)).decode() in workers
        await eventually(lambda: evenly_spread(pipe))
        assert zombie.worker_id in await holders(pipe, "vad")
        with standing_still(*(other.pid for other in workers.values())):
            await eventually(lambda: reached(conversation, "done", turn=1))
    await eventually(lambda: evenly_spread(pipe))


@pytest.mark.parametrize("stage", ["vad", "stt", "llm", "tts"])
async def test_who_stood_still_with_all_others_goes_on(
    served: System, pipe: Pipe, stage: str
) -> None:
    async with talking(served, pipe) as conversation:
        await eventually(
            lambda: (
                speaks(conversation) if stage == "vad" else in_the_middle(conversation, pipe, stage)
            )
        )
        with standing_still(*(worker.pid for worker in (await workers_of(pipe, stage)).values())):
            await eventually(lambda: leases_ran_out(pipe, stage))


def speaks(conversation: Conversation) -> bool:
    """Whether the beginning of the first turn was heard."""
    return any(exchange.kinds for exchange in conversation.record.exchanges)
