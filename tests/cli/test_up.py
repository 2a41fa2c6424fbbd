"""`parley up`, whole: real processes, a real broker, engines that need no models."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.up import DEADLINE_S, Up, free_port, running


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with running(tmp_path / "data") as started:
        yield started


def test_up_serves_restarts_and_stops(up: Up) -> None:
    up.wait_for(lambda: "Parley is ready" in up.log.read_text())
    worker = up.child("workers.stt")
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    psutil.wait_procs([worker], timeout=DEADLINE_S)
    # The gateway is ready all the while if the next one signs in soon enough.
    up.wait_for(lambda: up.log.read_text().count("stt      ready: ") == 2)
    assert up.is_ready()

    family = up.family()
    assert len(family) == 7  # supervisord, the broker, the gateway and four workers
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(DEADLINE_S) == 0, up.log.read_text()
    assert not [process for process in family if process.is_running()]
    log = up.log.read_text()
    assert "Traceback" not in log
    assert "terminated by" not in log.split("draining", 1)[1], log


def test_a_second_one_with_the_same_data_is_refused(up: Up, tmp_path: Path) -> None:
    second = Up(tmp_path / "data", free_port())
    assert second.process.wait(DEADLINE_S) == 1
    assert "another `parley up`" in second.log.read_text()
    assert up.process.poll() is None


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = Up(tmp_path / "data", taken.getsockname()[1])
        assert refused.process.wait(DEADLINE_S) == 1
    assert re.fullmatch(r"parley: cannot listen on port \d+ .*--port\n", refused.log.read_text())


def test_the_doctor_knows_parley_when_it_runs(up: Up) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from cli.main import app; app()", "doctor"],
        env={**os.environ, "PARLEY_PROFILE": "instant", "PARLEY_PORT": str(up.port)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout
    assert "Parley is running there" in said.stdout
