"""One readable log: every process writes `12:00:01 stt      message` lines to standard error."""

import logging
import sys


class _Line(logging.Formatter):
    """The time, the process, the level where it matters, and the message."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s {process:<8} %(prefix)s%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        loud = record.levelno >= logging.WARNING
        record.prefix = f"{record.levelname.lower()}: " if loud else ""
        return super().format(record)


def set_up(process: str, level: str) -> None:
    """Sends this process's log to standard error, from `level` ("info", …) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "uvicorn.access", "faster_whisper"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
