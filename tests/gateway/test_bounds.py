"""What a gateway holds is bounded, and nothing is left of sessions that are over."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway import follower as following
from gateway.protocols import wire
from gateway.session import Session
from shared.broker import Pipe
from tests.gateway.realtime_client import SILENCE, Client, joined, resumed, sound
from tests.gateway.running import Gateway
from tests.stages import until

TURN = np.concatenate([sound(0.4), SILENCE])


async def converse(served: Gateway) -> None:
    """A turn, a break in the middle of the next answer, the rest of it, and goodbye."""
    async with joined(served) as client:
        await client.append(TURN)
        await client.until("response.done")
        await client.append(TURN)
        await client.until("response.output_audio.delta")
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        client.vanish()
    async with resumed(served, session, last) as client:
        await client.until("response.done")


def held() -> tuple[int, int, int]:
    """Tasks, open files and sessions of this process, in which everything runs."""
    gc.collect()
    sessions = sum(isinstance(thing, Session) for thing in gc.get_objects())
    return len(asyncio.all_tasks()), psutil.Process().num_fds(), sessions


async def test_sessions_that_are_over_leave_no_task_no_file_and_no_memory(served: Gateway) -> None:
    await asyncio.gather(*(converse(served) for _ in range(10)))
    await until(lambda: served.idle)
    tasks, files, _ = held()
    for _ in range(2):
        await asyncio.gather(*(converse(served) for _ in range(10)))
    await until(lambda: served.idle)
    await until(lambda: held() <= (tasks, files, 0))


async def test_what_a_slow_client_has_not_taken_waits_in_the_broker(
    served: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_MOST_WAITING", 4)
    monkeypatch.setattr(following, "_READ_ENTRIES", 2)
    async with joined(served) as client:
        await client.append(TURN)
        done = await client.until("response.done")
    [item] = done["response"]["output"]
    deltas = [e["delta"] for e in client.seen if e["type"].endswith("audio_transcript.delta")]
    assert "".join(deltas) == item["content"][0]["transcript"]


async def ask_for_much(client: Client) -> None:
    """Each answer tells the session's instructions in full."""
    while True:
        await client.send("session.update", session={"instructions": "x" * 30_000})


async def test_a_client_that_reads_nothing_is_cut_off_and_may_come_back(
    served: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_SLOW_S", 0.5)
    async with joined(served) as client:
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        client.socket.transport.pause_reading()
        asking = asyncio.create_task(ask_for_much(client))
        await until(lambda: served.idle)
        client.vanish()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    async with resumed(served, session, last) as again:
        assert (await again.next())["type"] == "parley.session.resumed"


@asynccontextmanager
async def almost_full(pipe: Pipe) -> AsyncIterator[None]:
    """The broker has less than a tenth of its memory left, which is a megabyte."""
    await pipe.command("SET", "ballast", bytes(20 * 2**20), "EX", 60)
    info = await pipe.command("INFO", "memory")
    used = int(info.split(b"used_memory:")[1].split(b"\r\n")[0])
    await pipe.command("CONFIG", "SET", "maxmemory", used * 21 // 20)
    try:
        yield
    finally:
        await pipe.command("CONFIG", "SET", "maxmemory", 0)


async def connects(served: Gateway) -> None:
    async with connect(f"ws://{served.host}/v1/realtime"):
        pass


async def test_a_full_broker_takes_no_new_sessions_and_keeps_the_old(
    served: Gateway, pipe: Pipe
) -> None:
    async with joined(served) as client:
        async with almost_full(pipe):
            with pytest.raises(InvalidStatus) as refused:
                await connects(served)
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "1"
            assert b"no memory for more sessions" in refused.value.response.body
            await client.append(TURN)
            await client.until("response.done")
        await connects(served)
