"""`parley worker` and the health check: what a container of one stage runs."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shared.broker import Pipe
from shared.heartbeat import WorkerInfo, living
from shared.settings import environment
from tests.stages import until
from tests.support.command import parley


def health(part: str, redis_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli.health", part],
        env=environment(redis_url=redis_url),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def worker(redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that `parley worker stt` became."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import app; app()", "worker", "stt"],
        env=environment(redis_url=redis_url, profile="instant"),
    )
    yield process
    process.kill()
    process.wait()


async def ready(pipe: Pipe) -> list[WorkerInfo]:
    return [info for info in await living(pipe) if info.ready]


async def test_it_becomes_the_worker_of_its_stage_and_ends_with_0_when_told(
    worker: subprocess.Popen[bytes], pipe: Pipe, redis_url: str
) -> None:
    async def signed_in() -> bool:
        return bool(await ready(pipe))

    await until(signed_in)
    [info] = await ready(pipe)
    assert (info.stage, info.pid, info.host) == ("stt", worker.pid, socket.gethostname())
    assert health("stt", redis_url).returncode == 0

    other = health("llm", redis_url)
    assert other.returncode == 1
    assert other.stderr == "no llm worker of this container is ready\n"

    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(30) == 0
    assert health("stt", redis_url).returncode == 1


def test_a_broker_that_is_away_is_no_health() -> None:
    away = health("stt", "redis://127.0.0.1:1/0")
    assert away.returncode == 1
    assert "broker" in away.stderr
    assert "Traceback" not in away.stderr


@pytest.mark.parametrize("command", [["worker", "tts"], ["up"]])
def test_a_python_that_is_none_is_one_sentence(command: list[str]) -> None:
    done = parley(*command, PARLEY_PROFILE="instant", PARLEY_TTS_PYTHON="/no/such/python")
    assert done.returncode == 1
    assert done.stderr.startswith("parley: PARLEY_TTS_PYTHON: ")
    assert len(done.stderr.splitlines()) == 1
