"""A running `parley up`: real processes, a real broker."""

import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

DEADLINE_S = 120
COMMAND = [sys.executable, "-c", "from cli.main import app; app()", "up"]


class Up:
    """A running `parley up` on a port and with data of its own, which speaks TLS if it has a
    certificate: one of `authority`."""

    def __init__(
        self,
        data: Path,
        port: int,
        profile: str = "instant",
        authority: Path | None = None,
        /,
        **settings: str,
    ) -> None:
        self.port = port
        self._address = f"http://127.0.0.1:{port}"
        self._trusted = None
        if authority is not None:
            self._address = f"https://localhost:{port}"
            self._trusted = ssl.create_default_context(cafile=authority)
        self.log = data.parent / f"{port}.log"
        inherited = {name: value for name, value in os.environ.items() if name[:7] != "PARLEY_"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--profile", profile, "--port", str(port)],
                env={**inherited, **settings, "PARLEY_DATA_DIR": str(data)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, module: str) -> psutil.Process | None:
        """The process that runs `python -m module`."""
        for child in self.family():
            with suppress(psutil.NoSuchProcess):  # it ended in this moment
                if module in child.cmdline():
                    return child
        return None

    def is_ready(self) -> bool:
        try:
            ready = f"{self._address}/ready"
            with urllib.request.urlopen(ready, timeout=5, context=self._trusted) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not what():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(
    data: Path, profile: str = "instant", authority: Path | None = None, /, **settings: str
) -> Iterator[Up]:
    """A `parley up` that is ready; it is stopped at the end of the block."""
    started = Up(data, free_port(), profile, authority, **settings)
    try:
        started.wait_for(started.is_ready)
        yield started
    finally:
        if started.process.poll() is None:
            started.process.terminate()
        started.process.wait()
