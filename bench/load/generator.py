"""One process of callers: reads its job as a line of JSON, writes a line for every record.

A run needs several: one process can follow about a hundred sessions without being late itself.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from bench.load.caller import Caller
from bench.load.protocols import question_of
from bench.load.pulse import pulse
from bench.load.record import Record
from bench.load.scenario import Scenario
from shared.garbage import settle

API_KEY = "PARLEY_API_KEY"
"""The variable that the key comes in: a command line shows to everybody."""


class Start(msgspec.Struct, frozen=True):
    """When a session connects and begins to ask, as times of day."""

    session: int
    connect_s: float
    begin_s: float


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one process does."""

    url: str
    question: str
    scenario: Scenario
    starts: list[Start]


def _write(record: Record) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
    sys.stdout.buffer.flush()


async def call(job: Job) -> None:
    """Runs all of a job's sessions to their ends."""
    question = question_of(job.scenario, Path(job.question))
    key = os.environ.get(API_KEY)
    # Times of day mean the same in every process; what is measured runs by the loop's clock.
    offset_s = asyncio.get_running_loop().time() - time.time()
    feeling = asyncio.create_task(pulse(_write))
    settle()
    async with asyncio.TaskGroup() as tasks:
        for start in job.starts:
            caller = Caller(start.session, job.scenario, question, job.url, key, _write)
            tasks.create_task(caller.run(start.connect_s + offset_s, start.begin_s + offset_s))
    feeling.cancel()
    await asyncio.wait({feeling})


if __name__ == "__main__":
    uvloop.run(call(msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)))
