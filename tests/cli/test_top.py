"""`parley top` of a running system."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Parley
from tests.support.command import parley
from tests.support.terminal import terminal
from tests.support.up import Up, running


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with running(tmp_path / "data") as started:
        yield started


async def test_a_running_system(up: Up) -> None:
    port = {"PARLEY_PORT": str(up.port)}

    def now() -> dict[str, object]:
        done = parley("top", "--once", "--json", **port)
        assert done.returncode == 0, done.stderr
        told: dict[str, object] = json.loads(done.stdout)
        return told

    async with Parley(up.url):
        up.wait_for(lambda: now()["sessions"]["open"] == 1)  # type: ignore[index]
        told = json.loads(json.dumps(now()))
        shown = parley("top", "--once", **port).stdout
    assert [stage["stage"] for stage in told["stages"]] == ["vad", "stt", "llm", "tts"]
    assert all(stage["ready"] == stage["workers"] == 1 for stage in told["stages"])
    family = {process.pid for process in up.family()}
    members = [*told["workers"], *told["gateways"]]
    assert len(members) == 5
    assert {member["pid"] for member in members} <= family
    assert all(member["rss_bytes"] > 1_000_000 for member in members)
    assert told["dead_jobs"] == 0
    assert "1 session " in shown
    for member in members:
        assert str(member["pid"]) in shown


def test_in_a_small_terminal_all_of_it_fits_until_ctrl_c(up: Up, tmp_path: Path) -> None:
    question = Path(__file__).parents[2] / "tests" / "data" / "question.wav"
    asked = ("say", str(question), "-o", str(tmp_path / "answer.wav"))
    assert parley(*asked, PARLEY_PORT=str(up.port)).returncode == 0
    with terminal("top", settings={"PARLEY_PORT": str(up.port)}) as screen:
        # The last line, which is cut off where there are too many.
        screen.wait_for(lambda: "delivery" in screen.text)
        assert screen.interrupt() == 0
    lines = [line.rstrip() for line in screen.text.splitlines() if line.strip()]
    assert lines[0].startswith("Parley ")
    assert any("(1 opened, 0 resumed, 0 refused)" in line for line in lines)
    assert any(line.startswith("end of speech to first audio") for line in lines)
    assert "…" not in screen.text
    assert screen.written.endswith("\x1b[?1049l")  # what was in the terminal before is back


def test_without_a_terminal_it_says_what_to_use() -> None:
    done = parley("top")
    assert done.returncode == 1
    assert "--once" in done.stderr


def test_json_is_for_once() -> None:
    done = parley("top", "--json")
    assert done.returncode == 2
    assert "--once" in done.stderr


def test_a_system_that_is_not_there() -> None:
    done = parley("top", "--once", "--port", "1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
