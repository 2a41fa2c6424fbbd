"""One readable log: every process writes `12:00:01 stt      message` lines to standard error."""

import logging
import sys
import textwrap
from typing import Any


def printable(text: str) -> str:
    """`text` on one line, with whatever could steer a terminal written as an escape sequence."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


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


def set_up(process: str, level: str) -> None:
    """Sends this process's log to standard error, from `level` ("info", …) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "uvicorn.access", "faster_whisper"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # At the level DEBUG it writes down every frame: keys, and what people say.
    logging.getLogger("uvicorn.error").setLevel(max(logging.INFO, logging.getLogger().level))
