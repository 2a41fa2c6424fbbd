"""People who talk to a running system, and everything that must hold of what they were answered."""

import asyncio
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from bench.chaos.broker_view import BrokerView
from bench.chaos.conversation import Conversation
from bench.chaos.invariants import check
from bench.chaos.script import Turn
from bench.chaos.system import System
from shared import heartbeat
from shared.broker import Pipe, connect
from shared.heartbeat import WorkerInfo
from shared.keys import Keyspace
from shared.settings import environment

KEYSPACE = Keyspace(shards=1, lanes=8)
DEADLINE_S = 60.0
_POLL_S = 0.02

# Every conversation has its own: a worker may still have the transcript of one that sounded alike.
_PITCHES_HZ = itertools.count(300)


def spoken(number: int, turns: int) -> list[Turn]:
    """Turns that are said and whose answers are heard out; no two sound the same."""
    pitch_hz = next(_PITCHES_HZ)
    return [
        Turn(
            session=number,
            number=turn,
            way="spoken",
            ending="heard",
            tone_ms=600 + 10 * turn,
            tone_hz=pitch_hz,
            pause_s=0.0,
            heard_ms=0,
        )
        for turn in range(turns)
    ]


@asynccontextmanager
async def talking(
    served: System, pipe: Pipe, number: int = 0, turns: int = 1
) -> AsyncIterator[Conversation]:
    """Somebody who talks in real time; leaving waits for the last answer and checks everything."""
    url = f"ws://127.0.0.1:{served.ports[0]}"
    conversation = Conversation(url, number, spoken(number, turns), lambda turn: turn.speech(1))
    history = BrokerView(pipe, KEYSPACE).history
    task = asyncio.create_task(conversation.run(history), name=f"conversation {number}")
    try:
        yield conversation
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(conversation.record.exchanges) == turns
    assert check(conversation.record, conversation.transcripts, conversation.history) == []


async def eventually(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    """Waits for what other processes do.

    Raises:
        TimeoutError: it did not come true within a minute.
    """
    async with asyncio.timeout(DEADLINE_S):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(_POLL_S)


@contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    """Processes that are stopped for as long as the block lasts."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def broker_of(served: System) -> AsyncIterator[Pipe]:
    """A pipe of the test's own to the system's broker."""
    async with Pipe(connect(served.broker.url)) as pipe:
        yield pipe


async def workers_of(pipe: Pipe, stage: str, within_ms: int = 4_000) -> dict[str, WorkerInfo]:
    """The stage's living workers by their ids."""
    living = await heartbeat.living(pipe, within_ms)
    return {worker.worker_id: worker for worker in living if worker.stage == stage}


async def lane_owners(pipe: Pipe) -> list[str]:
    """The ids of the workers that own lanes, one for each lane that is owned."""
    leases = [lane.lease for lane in KEYSPACE.all_lanes()]
    owners = await pipe.command("MGET", *leases)
    return [owner.decode() for owner in owners if owner is not None]


async def evenly_spread(pipe: Pipe) -> bool:
    """Whether two VAD workers live and own as many lanes each: until then lanes move."""
    owners = Counter(await lane_owners(pipe))
    return owners.keys() == (await workers_of(pipe, "vad")).keys() and set(owners.values()) == {4}


@asynccontextmanager
async def one_more(
    served: System, stage: str, log: Path, **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A further worker of a stage, which nobody starts again; it is killed at the end."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"workers.{stage}",
            env=environment(redis_url=served.broker.url, **settings),
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
