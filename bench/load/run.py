"""One run: generators side by side, what they report, and what it costs the server."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.load.generator import API_KEY, Job, Start
from bench.load.machine import Meter
from bench.load.protocols import question_of
from bench.load.record import Record
from bench.load.scenario import Scenario, starts_s
from bench.load.summary import Summary, summarise

SESSIONS_EACH = 100
"""How many sessions one process follows."""

_STARTED_S = 1.5  # until a generator has read its job
_CONNECTIONS_PER_S = 100.0
_LONGEST_LINE = 2**20


class GeneratorFailed(Exception):
    """A process of callers ended with an error; what it wrote is on standard error."""


async def run(
    scenario: Scenario,
    url: str,
    question: Path,
    api_key: str | None,
    meter: Meter | None,
    progress: Callable[[Record], None],
) -> Summary:
    """Runs a scenario against the server at `url` and sums it up; `progress` sees each record.

    Raises:
        AudioError, OSError: the question cannot be read.
        GeneratorFailed: a process of callers failed.
    """
    starts = _starts(scenario, question)
    number = -(-scenario.sessions // SESSIONS_EACH)
    jobs = [
        Job(url=url, question=str(question), scenario=scenario, starts=starts[index::number])
        for index in range(number)
    ]
    records: list[Record] = []

    def note(record: Record) -> None:
        records.append(record)
        progress(record)

    if meter is not None:
        await meter.begin()
    await asyncio.gather(*(_generate(job, api_key, note) for job in jobs))
    return summarise(scenario, records, await meter.end() if meter is not None else None)


def _starts(scenario: Scenario, question: Path) -> list[Start]:
    """Sessions connect one after another, before the first of them asks."""
    seconds = question_of(scenario, question).seconds
    connect_s = time.time() + _STARTED_S
    begin_s = connect_s + scenario.sessions / _CONNECTIONS_PER_S + 1
    apart_s = max(1 / _CONNECTIONS_PER_S, scenario.ramp_s / scenario.sessions)
    return [
        Start(number, connect_s + number * apart_s, begin_s + at_s)
        for number, at_s in enumerate(starts_s(scenario, seconds))
    ]


async def _generate(job: Job, api_key: str | None, note: Callable[[Record], None]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "bench.load.generator"),
        env={**os.environ, **({API_KEY: api_key} if api_key else {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.close()
        async for line in process.stdout:
            note(msgspec.json.decode(line, type=Record))
        if await process.wait():
            raise GeneratorFailed(f"a process of callers ended with {process.returncode}")
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
