"""Supervision, with programs that only say their names."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from cli.supervise import Program, configuration, restyled

# What `parley up` does, with stand-ins: each says its name and process id, and says goodbye. At
# SIGUSR1 it leaves an orphan, which says its process id and ends.
SPEAKER = """
import os, signal, sys
def end(*_):
    sys.stdout.write(f"{sys.argv[1]} ends\\n")
    sys.exit()
def leave_orphan(*_):
    if child := os.fork():
        os.waitpid(child, 0)
        return
    parent = os.getpid()
    if not os.fork():
        while os.getppid() == parent:
            pass
        os.write(1, f"orphan {os.getpid()}\\n".encode())
    os._exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGUSR1, leave_orphan)
sys.stdout.write(f"{sys.argv[1]} {os.getpid()}\\n")
sys.stdout.flush()
while True:
    signal.pause()
"""
MAIN = """
import os, sys
from pathlib import Path
from cli.runtime import Place
from cli.supervise import Program, supervise
def speaker(name, **more):
    return Program(name, [sys.executable, sys.argv[2], name], **more)
def write(line):
    sys.stdout.write(line)
    sys.stdout.flush()
programs = [speaker("one"), speaker("two"), speaker("last", stops_late=True)]
place = Place(Path(sys.argv[1]), open(os.devnull))
sys.exit(0 if supervise(programs, place, os.environ, write) else 3)
"""


class Running:
    """A supervising process, its log and the programs it said it runs."""

    def __init__(self, folder: Path) -> None:
        speaker = folder / "speaker.py"
        speaker.write_text(SPEAKER)
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, str(folder), str(speaker)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pids: dict[str, int] = {}
        while len(self.pids) < 3:
            line = self.note(self.line())
            assert line
            assert " parley " not in line
        self.supervisord = psutil.Process(self.process.pid).children()[0]
        self.everything = psutil.Process(self.process.pid).children(recursive=True)

    def line(self) -> str:
        stdout: IO[str] | None = self.process.stdout
        assert stdout is not None
        return stdout.readline().strip()

    def note(self, line: str) -> str:
        name, _, pid = line.partition(" ")
        if pid.isdigit():
            self.pids[name] = int(pid)
        return line

    def rest(self) -> list[str]:
        """Every line up to the end of the log."""
        return list(iter(self.line, ""))

    def assert_nothing_is_left(self) -> None:
        _, left = psutil.wait_procs(self.everything, timeout=30)
        assert not left


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    started = Running(tmp_path)
    yield started
    started.process.kill()
    for process in started.everything:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    started.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(running: Running, number: signal.Signals) -> None:
    running.process.send_signal(number)
    running.process.send_signal(number)
    ends = [line for line in running.rest() if line.endswith("ends")]
    assert set(ends[:2]) == {"one ends", "two ends"}
    assert ends[2:] == ["last ends"]
    assert running.process.wait() == 0
    running.assert_nothing_is_left()


def test_what_is_killed_starts_again(running: Running) -> None:
    first = running.pids["one"]
    os.kill(first, signal.SIGKILL)
    said = []
    while running.pids["one"] == first:
        said.append(running.note(running.line()))
    assert any("parley   exited: one (terminated by SIGKILL" in line for line in said)
    running.process.send_signal(signal.SIGINT)
    assert "one ends" in running.rest()


def test_an_orphan_is_reaped(running: Running) -> None:
    os.kill(running.pids["one"], signal.SIGUSR1)
    running.note(running.line())
    deadline = time.monotonic() + 30
    while psutil.pid_exists(running.pids["orphan"]):  # a zombie does
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.process.terminate()
    assert running.process.wait() == 0


def test_every_line_is_json_where_that_is_asked_for() -> None:
    lines = [
        "2026-01-02 03:04:05,678 WARN exited: one (terminated by SIGKILL; not expected)\n",
        "2026-01-02 03:04:05,678 CRIT no more file descriptors\n",
        '{"time": "2026-01-02T03:04:05.678Z", "process": "stt"}\n',
        'Traceback "most recent"\n',
    ]
    said = [json.loads(restyled(line, "json")) for line in lines]
    assert [one["process"] for one in said] == ["parley", "parley", "stt", "parley"]
    assert [one.get("level") for one in said] == ["warning", "critical", None, "info"]
    assert said[0]["message"] == "exited: one (terminated by SIGKILL; not expected)"
    assert said[3]["message"] == 'Traceback "most recent"'
    assert [restyled(line, "text") for line in lines[2:]] == lines[2:]


def test_nothing_outlives_a_supervising_process_that_is_killed(running: Running) -> None:
    running.process.kill()
    running.assert_nothing_is_left()


def test_nothing_outlives_a_supervisord_that_is_killed(running: Running) -> None:
    running.supervisord.kill()
    assert running.process.wait() == 3
    running.assert_nothing_is_left()


def test_the_configuration_keeps_signs_that_mean_something_to_it(tmp_path: Path) -> None:
    text = configuration([Program("one", ["/a %b/c", "d e"])], tmp_path)
    assert "command = '/a %%b/c' 'd e'" in text
    assert "chmod = 0600" in text
