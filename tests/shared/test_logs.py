"""The log: one line for each thing said, whatever is in it."""

import asyncio
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from shared import logs

# Loggers that are given levels.
SET = ("", "__main__", "bench", "cli", "gateway", "shared", "workers")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: _logger(name).level for name in SET}
    hook = sys.excepthook
    yield
    sys.excepthook = hook
    root.handlers[:] = handlers
    for name, level in levels.items():
        _logger(name).setLevel(level)


def _logger(name: str) -> logging.Logger:
    return logging.getLogger(name)


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_what_a_client_sent_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("gateway", "info")
    forged = "x\n12:00:00 gateway  all is well\x1b[2J\u2028"
    logging.getLogger("test").info("refused: %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("test").exception("failed")
    first, *traceback = capsys.readouterr().err.splitlines()
    assert "\\n12:00:00" in first
    assert "\\x1b" in first
    assert not any(line.startswith("12:00:00") for line in traceback[1:])


def test_a_line_of_json_holds_everything(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("stt", "info", "json")
    forged = 'x\n{"message": "all is well"}\x1b[2J\u2028'
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("test").exception("refused: %s", forged)
    [line] = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["message"] == f"refused: {forged}"
    assert (told["level"], told["process"], told["logger"]) == ("error", "stt", "test")
    assert "ValueError" in told["exception"]
    sys.excepthook(ValueError, ValueError(forged), None)
    last = json.loads(capsys.readouterr().err)
    assert (last["level"], last["exception"]) == ("critical", f"ValueError: {forged}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["time"])


def test_what_is_said_is_not_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("gateway", "debug")
    for library in ("uvicorn.error", "openai._base_client", "piper.voice", "some.library"):
        logging.getLogger(library).debug("< TEXT 'a secret'")
    logging.getLogger("gateway.hub").debug("of ours")
    told = capsys.readouterr().err
    assert "secret" not in told
    assert "of ours" in told


async def test_a_line_names_whom_it_concerns(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("llm", "info", "json")
    log = logging.getLogger("workers.test")

    async def work(session_id: str) -> None:
        with logs.concerning(session_id=session_id):
            await asyncio.sleep(0)
            await asyncio.to_thread(log.info, "of the session")
            with logs.concerning(response_id=f"resp of {session_id}"):
                await asyncio.sleep(0)
                log.info("of the response")
            log.info("of the session")

    await asyncio.gather(work("sess_1"), work("sess_2"))
    log.info("of nobody")
    *lines, last = said(capsys)
    assert not {"session_id", "response_id"} & last.keys()
    for session_id in ("sess_1", "sess_2"):
        own = [line for line in lines if line["session_id"] == session_id]
        answers = [line.get("response_id") for line in own]
        assert answers == [None, f"resp of {session_id}", None]
    assert len(lines) == 6


def test_the_level_changes_and_changes_back(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("stt", "warning", "json")
    log = logging.getLogger("workers.test")

    def logged() -> list[str]:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            log.log(level, "line")
        return [line["level"] for line in said(capsys) if line["message"] == "line"]

    assert logged() == ["warning", "error"]
    logs.choose("debug")
    assert [line["message"] for line in said(capsys)] == ["the log level is debug now"]
    assert logged() == ["debug", "info", "warning", "error"]
    logs.choose("debug")
    assert said(capsys) == []
    logs.choose("error")
    assert logged() == ["error"]
    logs.choose(None)
    assert [line["message"] for line in said(capsys)] == ["the log level is warning now"]
    assert logged() == ["warning", "error"]
