"""What each process logs, changed while it runs.

Whoever may use the broker asks there for another level of a process, by its name: "gateway", or a
stage's. All processes of that name look for it once a second, those that start later too. It holds
for as long as was asked for, and then they log again what their settings say.
"""

import asyncio
from typing import get_args

from shared import logs
from shared.broker import Pipe
from shared.keys import log_level
from shared.logs import Level
from shared.profiles import STAGES

INTERVAL_S = 1.0
PROCESSES = ("gateway", *STAGES)


async def follow(pipe: Pipe, process: str) -> None:
    """Logs what is asked for of `process`, which is this one, until cancelled."""
    while True:
        asked = await pipe.command("GET", log_level(process))
        logs.choose(_read(asked))
        await asyncio.sleep(INTERVAL_S)


async def ask(pipe: Pipe, process: str, level: Level, for_s: int) -> None:
    """Asks for another level of all processes of that name."""
    await pipe.command("SET", log_level(process), level, "EX", for_s)


async def end(pipe: Pipe, process: str) -> None:
    """They log again what their settings say."""
    await pipe.command("DEL", log_level(process))


async def asked(pipe: Pipe) -> dict[str, tuple[Level, int]]:
    """What is asked for, by process, and for how many seconds more."""
    found = {}
    for process in PROCESSES:
        level = _read(await pipe.command("GET", log_level(process)))
        left_s = await pipe.command("TTL", log_level(process))
        if level is not None and left_s > 0:
            found[process] = (level, int(left_s))
    return found


def _read(value: bytes | None) -> Level | None:
    """A level as the broker has it; one that is unknown here is as if none were asked for."""
    known: tuple[Level, ...] = get_args(Level)
    return next((level for level in known if value == level.encode()), None)
