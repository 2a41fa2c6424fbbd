"""The table of `parley up`: what its rows say, and that it is there in a terminal."""

import io
import os
import re
import signal
import socket
from pathlib import Path

import msgspec
import psutil
import pytest
from rich.console import Console

from cli import status, top
from cli.overview import Broker, Gateway, Overview, Sessions, Stage, Worker
from cli.status import History, Row
from cli.supervisor import Running
from tests.support.terminal import Terminal, terminal
from tests.support.up import free_port

OWN = os.getpid()


def overview(*workers: Worker, gateways: tuple[Gateway, ...] = ()) -> Overview:
    stages = [Stage(name, 1, 1, 0, 8, 2, 70) for name in ("vad", "stt")]
    return Overview(
        v=1,
        at_ms=0,
        sessions=Sessions(0, 0, 0, 0),
        voice_to_voice=None,
        parts={},
        stages=stages,
        workers=[*workers],
        gateways=[*gateways],
        gpus=[],
        dead_jobs=0,
        broker=Broker("Redis 7", 0, 0, 0),
    )


def worker(pid: int, *, ready: bool, host: str | None = None) -> Worker:
    place = host or socket.gethostname()
    return Worker("w", place, pid, 0.0, 0, "stt", ready, "whisper-tiny-en", "cpu", 0, 8)


def row(program: Running, now: Overview | None) -> Row:
    (found,) = History().rows([program], now)
    return found


@pytest.mark.parametrize(
    ("state", "now", "shown"),
    [
        ("RUNNING", None, "starting"),
        ("STARTING", overview(), "starting"),
        ("RUNNING", overview(worker(OWN, ready=False)), "loading"),
        ("STARTING", overview(worker(OWN, ready=True)), "ready"),
        ("RUNNING", overview(worker(OWN, ready=True, host="elsewhere")), "starting"),
        ("BACKOFF", overview(), "ended"),
        ("STOPPING", overview(worker(OWN, ready=True)), "draining"),
        ("STOPPED", None, "stopped"),
    ],
)
def test_what_state_a_process_is_in(state: str, now: Overview | None, shown: str) -> None:
    assert row(Running("stt", state, OWN, 7), now).state == shown


def test_what_is_known_of_a_process() -> None:
    found = row(Running("stt-2", "RUNNING", OWN, 7), overview(worker(OWN, ready=True)))
    assert (found.pid, found.since_s, found.restarts) == (OWN, 7, 0)
    assert (found.delay_ms, found.model) == (70, "whisper-tiny-en")
    assert found.rss_bytes > 1_000_000
    # It listens to all sessions, and nobody waits for it.
    assert row(Running("vad", "RUNNING", OWN, 7), overview()).delay_ms is None


def test_a_process_that_is_gone_takes_nothing() -> None:
    found = row(Running("stt", "RUNNING", 2**22 + 1, 7), overview())
    assert (found.cpu_percent, found.rss_bytes) == (0.0, 0)


def test_starts_are_counted_from_the_second_on() -> None:
    history = History()
    pids = [0, OWN, OWN, 0, os.getppid(), os.getppid()]
    counted = [history.rows([Running("stt", "RUNNING", pid, 1)], None)[0].restarts for pid in pids]
    assert counted == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("table", ["up", "top"])
def test_a_long_name_takes_nothing_from_other_columns(table: str) -> None:
    long = msgspec.structs.replace(worker(OWN, ready=True), model="whisper-large-v3-turbo" * 3)
    now = overview(long)
    rows = History().rows([Running("stt", "RUNNING", OWN, 7)], now)
    console = Console(file=io.StringIO(), width=80)
    console.print(top.rendered(now) if table == "top" else status.rendered("http://x", rows, now))
    assert isinstance(console.file, io.StringIO)
    (line,) = [each for each in console.file.getvalue().splitlines() if "whisper" in each]
    assert line.startswith("stt ")
    assert f" {OWN} " in line
    assert line.count("…") == 1
    assert line.rstrip().endswith("…")


def shown(screen: Terminal) -> dict[str, str]:
    """The state that each process was shown in last."""
    line = re.compile(r"^(\w+) +(starting|loading|ready|ended|draining|stopped)\b.*$", re.M)
    return {found[1]: found[0] for found in line.finditer(screen.text.replace("\r", ""))}


def test_in_a_terminal_it_stands_below_the_log(tmp_path: Path) -> None:
    port = free_port()
    settings = {"PARLEY_DATA_DIR": str(tmp_path / "data")}
    asked = ("up", "--profile", "instant", "--port", str(port))
    with terminal(*asked, settings=settings) as screen:
        screen.wait_for(lambda: "Parley is ready" in screen.text)
        names = {"vad", "stt", "llm", "tts", "gateway", "broker"}
        screen.wait_for(lambda: {n for n, row in shown(screen).items() if "ready" in row} == names)
        family = psutil.Process(screen.process.pid).children(recursive=True)
        (stt,) = [child for child in family if "workers.stt" in child.cmdline()]
        assert f" {stt.pid} " in shown(screen)["stt"]
        os.kill(stt.pid, signal.SIGKILL)
        screen.wait_for(lambda: re.search(r"ready +\d+ +1 ", shown(screen)["stt"]) is not None)
        assert "exited: stt (terminated by SIGKILL" in screen.text
        assert screen.interrupt() == 0
    assert not [process for process in family if process.is_running()]
    assert "Traceback" not in screen.text


def test_no_address_of_a_broker_is_one_sentence() -> None:
    with terminal("up", "--profile", "instant", settings={"PARLEY_REDIS_URL": "here"}) as screen:
        assert screen.end() == 1
    assert screen.text.startswith("parley: PARLEY_REDIS_URL must look like redis://")
