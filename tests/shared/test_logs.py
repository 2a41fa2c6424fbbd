"""The log: one line for each thing said, whatever is in it."""

import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from shared import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn.error")
    before = root.handlers[:], root.level, uvicorn.level
    hook = sys.excepthook
    yield
    sys.excepthook = hook
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    uvicorn.setLevel(before[2])


def test_what_a_client_sent_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("gateway", "info")
    forged = "x\n12:00:00 gateway  all is well\x1b[2J\u2028"
    logging.getLogger("test").info("refused: %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("test").exception("failed")
    said = capsys.readouterr().err
    first, *traceback = said.splitlines()
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
    said = json.loads(line)
    assert said["message"] == f"refused: {forged}"
    assert (said["level"], said["process"], said["logger"]) == ("error", "stt", "test")
    assert "ValueError" in said["exception"]
    sys.excepthook(ValueError, ValueError(forged), None)
    last = json.loads(capsys.readouterr().err)
    assert (last["level"], last["exception"]) == ("critical", f"ValueError: {forged}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["time"])


def test_what_is_said_is_not_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("gateway", "debug")
    logging.getLogger("uvicorn.error").debug("< TEXT 'a secret'")
    assert "secret" not in capsys.readouterr().err
