"""`parley restart` of a real `parley up`, and of stand-ins that do not come back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import parley
from tests.support.up import Up, free_port, running

STAND_INS = """
import os, sys
from cli.runtime import occupied
from cli.supervise import Program, supervise
from shared.settings import Settings
port, url, *command = sys.argv[1:]
with occupied(int(port)) as place:
    place.note(Settings(port=int(port), redis_url=url))
    supervise([Program(command[0], command[1:])], place, os.environ, print)
"""
# Says that it is well, and knows nothing of draining.
CARELESS = """
import http.server, os
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PARLEY_PORT"])), Health).serve_forever()
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("data") / "broker"
    with running(data, PARLEY_STT_WORKERS="2") as started:
        yield started


def restart(up: Up, *programs: str) -> list[str]:
    """Restarts programs; returns their names in the order in which they came back."""
    done = parley("restart", *programs, "--port", str(up.port))
    assert done.returncode == 0, done.stderr + up.log.read_text()
    assert up.is_ready()
    return [line.split()[0] for line in done.stdout.splitlines()]


def pids(up: Up) -> dict[int, str]:
    return {child.pid: child.cmdline()[-1] for child in up.family()}


def test_everything_but_the_broker_restarts_one_after_another(up: Up) -> None:
    before = pids(up)
    assert restart(up) == ["vad", "stt-1", "stt-2", "llm", "tts", "gateway"]
    changed = [command for pid, command in before.items() if pid not in pids(up)]
    stages = ["workers.llm", "workers.stt", "workers.stt", "workers.tts", "workers.vad"]
    assert sorted(changed) == ["gateway", *stages]
    assert "stopped:" not in up.log.read_text(), "only exits with another code than 0 are said"


def test_only_what_is_named_restarts(up: Up) -> None:
    before = pids(up)
    assert restart(up, "stt-2", "llm") == ["stt-2", "llm"]
    changed = [command for pid, command in before.items() if pid not in pids(up)]
    assert sorted(changed) == ["workers.llm", "workers.stt"]
    assert restart(up, "stt") == ["stt-1", "stt-2"]


def test_the_broker_restarts_when_it_is_named(up: Up) -> None:
    before = pids(up)
    assert restart(up, "broker") == ["broker"]
    gone = [command for pid, command in before.items() if pid not in pids(up)]
    assert len(gone) == 1


def test_a_name_that_is_none_is_one_sentence(up: Up) -> None:
    done = parley("restart", "sst", "--port", str(up.port))
    assert done.returncode == 1
    assert done.stderr == (
        "parley: there is no program 'sst':"
        " name any of vad, stt-1, stt-2, llm, tts, gateway, broker\n"
    )


def test_where_none_runs_it_says_where_one_does(up: Up) -> None:
    done = parley("restart", "--port", str(free_port()))
    assert done.returncode == 1
    assert "no `parley up` runs on port" in done.stderr
    assert str(up.port) in done.stderr


@contextmanager
def supervising(port: int, url: str, *command: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-c", STAND_INS, str(port), url, *command],
        env={**os.environ, "PARLEY_PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    try:
        while "no `parley up`" in parley("restart", "nothing", "--port", str(port)).stderr:
            assert process.poll() is None
        yield
    finally:
        process.terminate()
        process.wait()


def test_what_does_not_come_back_is_one_sentence(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    broken = tmp_path / "broken"
    with supervising(port, redis_url, "stt", "/bin/sh", "-c", f"test ! -e {broken} && sleep 999"):
        broken.touch()
        done = parley("restart", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith("parley: stt ended as it started: ")
    assert len(done.stderr.splitlines()) == 1


def test_what_does_not_end_in_good_order_is_said(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    careless = tmp_path / "careless.py"
    careless.write_text(CARELESS)
    with supervising(port, redis_url, "gateway", sys.executable, str(careless)):
        done = parley("restart", "--port", str(port))
    assert done.returncode == 1
    assert done.stdout.startswith("gateway   ready after ")
    assert done.stderr.startswith("parley: gateway had to be killed or ended with an error")
