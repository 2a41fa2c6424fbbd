"""The log of a running system: whom its lines concern, and its level, changed while it runs."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from shared.profiles import STAGES
from tests.support.command import parley
from tests.support.spoken import ask
from tests.support.up import Up, running

PROCESSES = ("gateway", *STAGES)


@pytest.fixture(scope="module")
def logging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("data")
    with running(data, PARLEY_SILENCE_MS="300", PARLEY_LOG_FORMAT="json") as served:
        yield served


def lines(served: Up) -> list[dict[str, Any]]:
    return [json.loads(line) for line in served.log.read_text().splitlines()]


def changed(served: Up, level: str, process: str) -> int:
    """How often the processes of that name said that they log another level."""
    message = f"the log level is {level} now"
    return sum(
        (line["process"], line["message"]) == (process, message)
        for line in lines(served)
        if "message" in line
    )


def change(served: Up, *arguments: str) -> str:
    ran = parley("log-level", *arguments, PARLEY_PORT=str(served.port))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def test_lines_name_their_session_and_nothing_that_was_said(logging: Up) -> None:
    change(logging, "debug")
    logging.wait_for(lambda: all(changed(logging, "debug", each) == 1 for each in PROCESSES))
    turn = await ask(logging.url, "question.wav")
    logging.wait_for(lambda: any("closed" in line["message"] for line in lines(logging)))
    concerned = [line for line in lines(logging) if "sess_" in line["message"]]
    assert len(concerned) >= 2
    for line in concerned:
        assert line["session_id"] in line["message"]
        assert re.fullmatch("sess_[0-9a-f]{24}", line["session_id"])
    assert turn.heard
    assert turn.heard not in logging.log.read_text()
    assert turn.answer not in logging.log.read_text()
    assert "opentelemetry" not in logging.log.read_text()
    change(logging, "default")
    logging.wait_for(lambda: all(changed(logging, "info", each) == 1 for each in PROCESSES))


def test_the_level_of_one_stage_changes_for_a_while(logging: Up) -> None:
    assert "what their settings say" in change(logging)
    said = change(logging, "warning", "--stage", "stt", "--minutes", "10")
    assert re.search(r"stt\s+warning\s+10 min", said)
    logging.wait_for(lambda: changed(logging, "warning", "stt") == 1)
    before = changed(logging, "info", "gateway")
    assert change(logging) == said
    # It holds for a worker that starts meanwhile.
    worker = logging.child("workers.stt")
    assert worker is not None
    worker.kill()
    logging.wait_for(lambda: changed(logging, "warning", "stt") == 2)
    assert "what their settings say" in change(logging, "default")
    assert {changed(logging, "warning", process) for process in PROCESSES if process != "stt"} == {
        0
    }
    assert changed(logging, "info", "gateway") == before


def test_what_cannot_be_asked_for(logging: Up) -> None:
    for arguments, said in (
        (["--stage", "stt"], "name a level, too"),
        (["loud"], "loud"),
        (["debug", "--minutes", "2000"], "--minutes"),
    ):
        ran = parley("log-level", *arguments, PARLEY_PORT=str(logging.port))
        assert ran.returncode in (1, 2)
        assert said in ran.stderr
