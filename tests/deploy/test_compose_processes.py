"""What compose.yaml runs, run: its broker, gateway and workers, and their health checks."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared.broker import Pipe, connect
from shared.heartbeat import living
from shared.profiles import STAGES
from tests.deploy.deployment import ROOT
from tests.deploy.running import Stack, stack
from tests.stages import until
from tests.support.command import parley

_DEADLINE_S = 60


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Stack]:
    """Everything of a profile, healthy."""
    with stack(tmp_path, "cpu") as started:
        start_broker(started)
        others = [f"{name}-cpu" for name in ("gateway", *STAGES)]
        for name in others:
            started.start(name)
        for name in others:
            until_healthy(started, name)
        yield started


def start_broker(started: Stack) -> None:
    assert not started.is_healthy("broker")
    started.start("broker")
    until_healthy(started, "broker")


def until_healthy(started: Stack, name: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not started.is_healthy(name):
        assert time.monotonic() < deadline, started.log
        time.sleep(0.1)


def say(started: Stack, key: str, answer: Path) -> tuple[int, str]:
    """Asks a question aloud; returns how it ended, and what was printed."""
    url = f"ws://127.0.0.1:{started.port}"
    said = parley(
        *("say", str(ROOT / "tests/data/question.wav"), "-o", str(answer), "--url", url),
        PARLEY_API_KEY=key,
    )
    return said.returncode, said.stdout + said.stderr


async def test_a_conversation(up: Stack, tmp_path: Path) -> None:
    status, printed = say(up, up.key, tmp_path / "answer.wav")
    assert status == 0, printed
    assert (tmp_path / "answer.wav").stat().st_size > 10_000
    status, printed = say(up, "parley_wrong", tmp_path / "none.wav")
    assert status == 1
    assert "401" in printed

    # docker compose up --scale stt=2
    up.start("stt-cpu")
    async with Pipe(connect(up.broker_url)) as pipe:

        async def are_two() -> bool:
            workers = await living(pipe)
            return sum(worker.ready and worker.stage == "stt" for worker in workers) == 2

        await until(are_two)

    assert up.stop() == [0] * 7, up.log
    assert up.key not in up.log
    assert redis.connection.parse_url(up.broker_url)["password"] not in up.log


def test_the_broker_is_private_bounded_and_append_only(tmp_path: Path) -> None:
    with stack(tmp_path, "cpu") as started:
        start_broker(started)
        with redis.Redis.from_url(started.broker_url, decode_responses=True) as client:
            assert client.config_get("maxmemory")["maxmemory"] == str(512 * 2**20)
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert client.config_get("appendonly")["appendonly"] == "yes"
            assert client.config_get("appendfsync")["appendfsync"] == "everysec"
        with (
            redis.Redis(port=started.broker_port) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()


def test_what_was_backed_up_is_there_again(tmp_path: Path) -> None:
    """The steps of docs/compose.md: the broker stops, its folder is copied, and put back."""
    with stack(tmp_path, "cpu") as started:
        start_broker(started)
        with redis.Redis.from_url(started.broker_url) as client:
            client.set("kept", "yes")
        assert started.stop() == [0]
        shutil.copytree(started.data, tmp_path / "backup")

        start_broker(started)
        with redis.Redis.from_url(started.broker_url) as client:
            client.delete("kept")
        assert started.stop() == [0]
        shutil.rmtree(started.data)
        shutil.copytree(tmp_path / "backup", started.data)

        start_broker(started)
        with redis.Redis.from_url(started.broker_url) as client:
            assert client.get("kept") == b"yes"
