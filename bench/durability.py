"""What the broker loses when it dies: writes it had acknowledged that are missing afterwards.

python -m bench.durability --rounds 5

Writers append to streams, each through a pipe of its own as Parley's processes do, and note every
write that the broker acknowledged. The broker, set up as `parley up` sets it up, is then ended in
one of three ways and started again with what its append-only file holds:

- SIGTERM: it writes everything out first.
- kill -9: what it had handed to the operating system survives.
- power loss: what was on the disk survives. Simulated with strace (Debian, Ubuntu: apt-get install
  strace; without it this row is left out), which watches the server's calls: after kill -9 the
  file is cut to what had been written when the last fdatasync that returned was called. A disk
  that says it has what it has not is not simulated.
"""

import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.broker import Broker, find_server
from shared.broker import Pipe, connect

_PAYLOAD = b"x" * 1_000
_RUN_S = (2.0, 4.0)  # the server calls fdatasync once a second: die anywhere between two calls
_CALL = re.compile(r"(?P<tid>\d+) +(?:<\.\.\. )?(?P<name>write|fdatasync)(?:\(| resumed>)")
_FILE = re.compile(r"\(\d+<(?P<path>[^>]*)>")
_RESULT = re.compile(r"= (?P<result>-?\d+)(?: \(|$)")


@dataclass(frozen=True)
class Loss:
    """How one round ended: the acknowledged writes, how many of them were missing, and how long
    before the end the first of these had been acknowledged."""

    acknowledged: int
    missing: int
    span_s: float


def main(
    rounds: Annotated[int, typer.Option(help="How often each way is tried.")] = 5,
    writers: Annotated[int, typer.Option(help="How many pipes write.")] = 8,
) -> None:
    """Prints what was lost in each way."""
    ways: dict[str, Callable[[Broker, Path], None]] = {"SIGTERM": _terminate, "kill -9": _kill}
    if shutil.which("strace"):
        ways["power loss"] = _cut_power
    columns = ["ended by", "acknowledged", "missing", "in one round", "oldest missing, s"]
    table = Table(*columns, box=None)
    for name, end in ways.items():
        losses = [asyncio.run(_round(end, writers)) for _ in range(rounds)]
        table.add_row(
            name,
            f"{sum(loss.acknowledged for loss in losses):,}",
            f"{sum(loss.missing for loss in losses):,}",
            f"{max(loss.missing for loss in losses):,}",
            f"{max(loss.span_s for loss in losses):.2f}",
        )
    Console().print(table)


async def _round(end: Callable[[Broker, Path], None], writers: int) -> Loss:
    with tempfile.TemporaryDirectory(prefix="parley-") as name:
        broker = Broker(find_server(), Path(name))
        with broker:
            acknowledged: list[list[float]] = [[] for _ in range(writers)]
            trace = Path(name) / "trace"
            watching = _watch(broker.pid, trace) if end is _cut_power else None
            tasks = [
                asyncio.create_task(_write(broker.url, f"stream:{number}", times))
                for number, times in enumerate(acknowledged)
            ]
            await asyncio.sleep(random.uniform(*_RUN_S))
            ended_s = time.monotonic()
            await asyncio.to_thread(end, broker, trace)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if watching is not None:
                watching.wait()
            await asyncio.to_thread(broker.start)
            return await _missing(broker.url, acknowledged, ended_s)


async def _write(url: str, stream: str, times: list[float]) -> None:
    async with Pipe(connect(url)) as pipe:
        while True:
            await pipe.command("XADD", stream, "*", "m", _PAYLOAD)
            times.append(time.monotonic())


async def _missing(url: str, acknowledged: list[list[float]], ended_s: float) -> Loss:
    missing, oldest_s = 0, ended_s
    async with Pipe(connect(url)) as pipe:
        for number, times in enumerate(acknowledged):
            there = int(await pipe.command("XLEN", f"stream:{number}"))
            if there < len(times):  # a write that was not acknowledged may be there too
                missing += len(times) - there
                oldest_s = min(oldest_s, times[there])
    return Loss(sum(map(len, acknowledged)), missing, ended_s - oldest_s)


# --- ways to end ---


def _terminate(broker: Broker, trace: Path) -> None:
    broker.stop()


def _kill(broker: Broker, trace: Path) -> None:
    os.kill(broker.pid, signal.SIGKILL)
    broker.stop()


def _cut_power(broker: Broker, trace: Path) -> None:
    _kill(broker, trace)
    for path, size in synced(trace.read_text()).items():
        os.truncate(path, size)


def _watch(pid: int, trace: Path) -> subprocess.Popen[bytes]:
    command = ["strace", "-f", "-y", "-s", "0", "-e", "trace=write,fdatasync", "-p", str(pid)]
    watching = subprocess.Popen([*command, "-o", trace], stderr=subprocess.PIPE)
    assert watching.stderr is not None
    watching.stderr.readline()  # it says that it is attached
    return watching


def synced(trace: str) -> dict[str, int]:
    """The files that strace saw appended to: how long each was when the last fdatasync of it that
    returned was called."""
    written: dict[str, int] = {}
    on_disk: dict[str, int] = {}
    calls: dict[str, tuple[str, int]] = {}
    for line in trace.splitlines():
        call = _CALL.match(line)
        if call is None:
            continue
        if file := _FILE.search(line):
            path = file["path"]
            calls[call["tid"]] = (path, written.get(path, 0))
        if (result := _RESULT.search(line)) is None or call["tid"] not in calls:
            continue
        path, before = calls.pop(call["tid"])
        if not path.endswith(".aof"):
            continue
        if call["name"] == "fdatasync":
            on_disk[path] = before
        else:
            written[path] = written.get(path, 0) + int(result["result"])
    return {path: on_disk.get(path, 0) for path in written}


if __name__ == "__main__":
    typer.run(main)
