"""A `parley up` of a run's own."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.address import answers
from cli.runtime import running, settings_of
from shared.settings import environment

_READY_S = 300.0
_POLL_S = 0.2


class NotReady(Exception):
    """The server did not start. The message is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running `parley up`."""

    url: str
    pid: int
    redis_url: str


@contextlib.asynccontextmanager
async def serving(profile: str, **settings: str | int) -> AsyncIterator[Server]:
    """Runs the engines of `profile`, with data of its own, until the end of the block.

    `settings` are other settings by their names in `shared.settings`.

    Raises:
        NotReady: it did not start.
    """
    with TemporaryDirectory(prefix="parley-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        log = Path(folder) / "log"
        process = _start(
            log, profile=profile, port=port, data_dir=Path(folder) / "data", **settings
        )
        try:
            await asyncio.to_thread(_wait, process, f"http://127.0.0.1:{port}/ready", log)
            found = settings_of(running(port))
            yield Server(f"ws://127.0.0.1:{port}", process.pid, found.redis_url)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)


def _start(log: Path, **settings: str | int | Path) -> "subprocess.Popen[bytes]":
    with log.open("w") as written:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", "from cli.main import app; app()", "up"],
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
        )


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Returns when the server is ready; blocks."""
    deadline_s = time.monotonic() + _READY_S
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise NotReady("the server did not start:\n" + log.read_text()[-2000:])
        time.sleep(_POLL_S)
