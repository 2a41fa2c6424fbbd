"""How a gateway should follow the output of hundreds of sessions: by doorbell or by blocked reads.

    python -m bench.followers --sessions 300 --per-second 10

Both ways get the same messages on the same private broker, one after the other. `doorbell` is
`gateway.follower`; `blocked` is one XREAD for each 64 sessions, issued again after every reply.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from cli.broker import Broker, find_server
from gateway.follower import Follower, Inbox
from shared.broker import BLOCK_MS, Argument, Pipe, connect, stream_entries
from shared.keys import Keyspace, SessionKeys
from shared.messages import TextDelta, decode, encode

_GATEWAY = "gw_bench"
_KEYS_A_READ = 64
# What a script does when it emits, with and without the bell.
_APPEND = "return redis.call('XADD', KEYS[1], 'MAXLEN', '~', 1024, '*', 'm', ARGV[1])"
_RING = "redis.call('PUBLISH', ARGV[2], ARGV[3]) " + _APPEND


@dataclass
class Run:
    """One way's figures."""

    latencies_ms: list[float] = field(default_factory=list)
    own_cpu_s: float = 0.0
    broker_cpu_s: float = 0.0

    def note(self, text: str) -> None:
        self.latencies_ms.append((time.perf_counter() - float(text)) * 1000)


async def _emit(
    pipe: Pipe, sessions: list[SessionKeys], per_second: float, seconds: float, bell: str | None
) -> int:
    """Each session gets a message as often as asked, evenly spread; returns how many."""
    total = int(len(sessions) * per_second * seconds)
    started, pending = time.perf_counter(), []
    for number in range(total):
        session = sessions[number % len(sessions)]
        due = started + number / (len(sessions) * per_second)
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        message = TextDelta(response_id="r", segment=0, at=0, text=repr(time.perf_counter()))
        call: list[Argument] = ["EVAL", _RING if bell else _APPEND, 1, session.out, encode(message)]
        if bell:
            call += [bell, session.session_id]
        pending.append(asyncio.ensure_future(pipe.command(*call)))
    await asyncio.gather(*pending)
    return total


async def _doorbell(pipe: Pipe, url: str, sessions: list[SessionKeys], run: Run) -> None:
    subscriber = connect(url)
    follower = Follower(pipe, subscriber, Keyspace(1, 8), _GATEWAY)
    inboxes = [follower.follow(session) for session in sessions]

    async def drain(inbox: Inbox) -> None:
        while True:
            _, message = await inbox.get()
            assert isinstance(message, TextDelta)
            run.note(message.text)

    try:
        await asyncio.gather(follower.run(), *(drain(inbox) for inbox in inboxes))
    finally:
        await subscriber.aclose()


async def _blocked(pipe: Pipe, url: str, sessions: list[SessionKeys], run: Run) -> None:
    async def read(group: list[SessionKeys]) -> None:
        reader = connect(url)
        positions = {session.out: "0-0" for session in group}
        try:
            while True:
                reply = await reader.xread(positions, count=256, block=BLOCK_MS)  # type: ignore[arg-type]
                for name, entries in stream_entries(reply):
                    for entry, fields in entries:
                        positions[name] = entry
                        run.note(decode(fields[b"m"], TextDelta).text)
        finally:
            await reader.aclose()

    groups = [sessions[at : at + _KEYS_A_READ] for at in range(0, len(sessions), _KEYS_A_READ)]
    await asyncio.gather(*(read(group) for group in groups))


async def _measure(
    way: Callable[[Pipe, str, list[SessionKeys], Run], Awaitable[None]],
    broker: Broker,
    sessions: int,
    per_second: float,
    seconds: float,
) -> Run:
    run, keyspace = Run(), Keyspace(1, 8)
    keys = [keyspace.session(f"sess_{number}") for number in range(sessions)]
    bell = keys[0].shard.doorbell(_GATEWAY) if way is _doorbell else None
    async with Pipe(connect(broker.url)) as pipe:
        await pipe.command("FLUSHALL")
        following = asyncio.ensure_future(way(pipe, broker.url, keys, run))
        await asyncio.sleep(0.5)
        own, server = time.process_time(), psutil.Process(broker.pid).cpu_times()
        total = await _emit(pipe, keys, per_second, seconds, bell)
        while len(run.latencies_ms) < total:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        run.own_cpu_s = time.process_time() - own
        after = psutil.Process(broker.pid).cpu_times()
        run.broker_cpu_s = after.user + after.system - server.user - server.system
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return run


def main(
    sessions: Annotated[int, typer.Option(help="How many sessions are followed.")] = 300,
    per_second: Annotated[float, typer.Option(help="Messages a second for each.")] = 10.0,
    seconds: Annotated[float, typer.Option(help="How long.")] = 5.0,
) -> None:
    """Prints delays and CPU times of both ways."""
    table = Table("way", "p50 ms", "p99 ms", "own CPU s", "broker CPU s", box=None)
    with (
        tempfile.TemporaryDirectory(prefix="parley-") as folder,
        Broker(find_server(), Path(folder)) as broker,
    ):
        for name, way in (("doorbell", _doorbell), ("blocked", _blocked)) * 2:
            run = asyncio.run(_measure(way, broker, sessions, per_second, seconds))
            cuts = statistics.quantiles(run.latencies_ms, n=100)
            row = [cuts[49], cuts[98], run.own_cpu_s, run.broker_cpu_s]
            table.add_row(name, *(f"{value:.2f}" for value in row))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
