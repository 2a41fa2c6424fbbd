"""`parley up`, whole: real processes, a real broker, engines that need no models."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

DEADLINE_S = 60
COMMAND = [sys.executable, "-c", "from cli.main import app; app()", "up"]


class Up:
    """A running `parley up` on a port and with data of its own."""

    def __init__(self, data: Path, port: int) -> None:
        self.port = port
        self.log = data.parent / f"{port}.log"
        inherited = {name: value for name, value in os.environ.items() if name[:7] != "PARLEY_"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--profile", "instant", "--port", str(port)],
                env={**inherited, "PARLEY_DATA_DIR": str(data)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, module: str) -> psutil.Process | None:
        """The process that runs `python -m module`."""
        found = [child for child in self.family() if module in child.cmdline()]
        return found[0] if found else None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5) as answer:
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


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path / "data", free_port())
    yield started
    if started.process.poll() is None:
        started.process.terminate()
    started.process.wait()


def test_up_serves_restarts_and_stops(up: Up) -> None:
    up.wait_for(up.is_ready)
    up.wait_for(lambda: "Parley is ready" in up.log.read_text())
    worker = up.child("workers.stt")
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    psutil.wait_procs([worker], timeout=DEADLINE_S)
    up.wait_for(lambda: up.child("workers.stt") is not None)
    up.wait_for(up.is_ready)

    family = up.family()
    assert len(family) == 7  # supervisord, the broker, the gateway and four workers
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(DEADLINE_S) == 0, up.log.read_text()
    assert not [process for process in family if process.is_running()]
    assert "Traceback" not in up.log.read_text()


def test_a_second_one_with_the_same_data_is_refused(up: Up, tmp_path: Path) -> None:
    up.wait_for(up.is_ready)
    second = Up(tmp_path / "data", free_port())
    assert second.process.wait(DEADLINE_S) == 1
    assert "another `parley up`" in second.log.read_text()
    assert up.process.poll() is None


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = Up(tmp_path / "data", taken.getsockname()[1])
        assert refused.process.wait(DEADLINE_S) == 1
    assert re.fullmatch(r"parley: cannot listen on port \d+ .*--port\n", refused.log.read_text())
