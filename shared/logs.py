"""One readable log: every process writes `12:00:01 stt      message` lines to standard error.

On request each line is a JSON object instead, for machines that gather logs; it names the session
and the response that it concerns in fields of their own.

Nothing that people say is logged: not by Parley at any level, and not by the libraries it uses,
which write down far more than one may at theirs of debugging, and so are kept above it.
"""

import json
import logging
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

# Parley's own loggers.
_OURS = ("__main__", "bench", "cli", "gateway", "shared", "workers")

_concerned: ContextVar[dict[str, str]] = ContextVar("concerned", default={})  # noqa: B039
_usual: Level = "info"

log = logging.getLogger(__name__)


@contextmanager
def concerning(**ids: str) -> Iterator[None]:
    """What is logged in the block, and in tasks begun there, concerns what has these ids:
    `session_id`, `response_id`."""
    token = _concerned.set({**_concerned.get(), **ids})
    try:
        yield
    finally:
        _concerned.reset(token)


def printable(text: str) -> str:
    """`text` on one line, with whatever could steer a terminal written as an escape sequence."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def json_line(process: str, level: str, message: str, *, at: float, **more: str) -> str:
    """A log line as JSON, without its end. `at` is seconds since 1970, and UTC in the line."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
    said = {"time": f"{moment}.{int(at % 1 * 1000):03d}Z", "level": level, "process": process}
    return json.dumps({**said, "message": message, **more})


class _Line(logging.Formatter):
    """The time, the process, the level where it matters, and the message."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s {process:<8} %(prefix)s%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        loud = record.levelno >= logging.WARNING
        record.prefix = f"{record.levelname.lower()}: " if loud else ""
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        # What a client sent may be part of the message: it must not begin a line of its own.
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return textwrap.indent(super().formatException(ei), "  ")


class _Json(logging.Formatter):
    """The same as a JSON object."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        level, message = record.levelname.lower(), record.getMessage()
        failure = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        return json_line(
            self._process,
            level,
            message,
            at=record.created,
            logger=record.name,
            **_concerned.get(),
            **failure,
        )


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What ends the process is one line too."""
    logging.getLogger(__name__).critical("uncaught", exc_info=(kind, error, trace))


def set_up(process: str, level: Level, log_format: Format = "text") -> None:
    """Sends this process's log to standard error, from `level` on."""
    global _usual
    _usual = level
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(process) if log_format == "json" else _Line(process))
    logging.basicConfig(handlers=[handler], force=True)
    _apply(level)
    if log_format == "json":
        sys.excepthook = _log_uncaught
    for chatty in ("httpx2", "uvicorn.access", "faster_whisper"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def choose(level: Level | None) -> None:
    """Logs from `level` on, or with None from the level that was set up."""
    wanted, before = level or _usual, log.getEffectiveLevel()
    if _number(wanted) != before:
        _apply(min(wanted, "info", key=_number))  # it is said whichever way it goes
        log.info("the log level is %s now", wanted)
        _apply(wanted)


def _apply(level: Level) -> None:
    number = _number(level)
    for ours in _OURS:
        logging.getLogger(ours).setLevel(number)
    # Of others' loggers nothing is known: they may write down keys, and what people say.
    logging.getLogger().setLevel(max(logging.INFO, number))


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
