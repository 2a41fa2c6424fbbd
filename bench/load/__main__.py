"""The command behind `parley bench`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NoReturn

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.load import options
from bench.load.capacity import largest
from bench.load.machine import Meter
from bench.load.protocols import question_of
from bench.load.record import Record, Turn
from bench.load.report import page, remarks, table
from bench.load.run import GeneratorFailed, run
from bench.load.scenario import Scenario
from bench.load.server import NotReady, serving
from bench.load.summary import Summary
from shared.audio import AudioError

_MOST_SESSIONS = 2_000

console = Console()


class Bench:
    """Runs scenarios against one server."""

    def __init__(
        self, url: str, question: Path, api_key: str | None, pid: int | None, redis_url: str | None
    ) -> None:
        self._url, self._question, self._api_key = url, question, api_key
        self._meter = Meter.of(pid, redis_url) if pid is not None else None

    async def run(self, scenario: Scenario) -> Summary:
        """Runs one scenario, with a bar that shows how far it is."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
            bar = bars.add_task(
                f"{scenario.sessions} sessions", total=scenario.sessions * scenario.turns
            )

            def note(record: Record) -> None:
                if isinstance(record, Turn):
                    bars.advance(bar)

            return await run(scenario, self._url, self._question, self._api_key, self._meter, note)


def bench(
    question: options.Question,
    url: options.Url = None,
    profile: options.Profile = "cpu",
    pid: options.Pid = None,
    redis_url: options.RedisUrl = None,
    api_key: options.ApiKey = None,
    protocol: options.Speaks = options.Protocol.realtime,
    sessions: options.Sessions = "1",
    turns: options.Turns = 5,
    warm_up: options.WarmUp = 1,
    arrival: options.Arrives = options.Arrival.staggered,
    ramp_s: options.Ramp = 0,
    every_s: options.Every = None,
    pause_s: options.Pause = 1,
    interrupt: options.Interrupt = 0,
    silence_ms: options.Silence = 300,
    capacity_ms: options.Capacity = None,
    output: options.Output = None,
    report: options.Report = None,
    pictures: options.Pictures = None,
) -> None:
    """Plays recorded conversations to a server in real time, and measures what its clients hear.

    Any server will do that speaks OpenAI's Realtime protocol or that of the original deployment.
    Ends with exit code 1 if a session was refused or a turn was not answered.

    Examples:

      parley bench tests/data/question.wav --sessions 1,2,4 --report report.html

      parley bench tests/data/question.wav --profile instant --sessions 100 --arrival together

      parley bench tests/data/question.wav --url wss://voice.example --capacity-ms 1500
    """
    scenario = Scenario(
        sessions=1,
        turns=turns,
        warm_up=min(warm_up, turns - 1),
        arrival=arrival.value,
        ramp_s=ramp_s,
        every_s=every_s,
        pause_s=pause_s,
        interrupt=interrupt,
        silence_ms=silence_ms,
        protocol=protocol.value,
    )
    server = _server(url, profile, question, api_key, pid, redis_url, silence_ms)
    try:
        question_of(scenario, question)  # before a server is started for nothing
        runs = asyncio.run(_measure(server, scenario, _numbers(sessions), capacity_ms))
        _write(runs, output, report, pictures)
    except (AudioError, OSError, GeneratorFailed, NotReady) as error:
        _fail(str(error))
    _show(runs)
    if capacity_ms is None and any(each.unanswered or each.refused or each.broken for each in runs):
        raise typer.Exit(1)


async def _measure(
    server: AbstractAsyncContextManager[Bench],
    scenario: Scenario,
    numbers: list[int],
    capacity_ms: float | None,
) -> list[Summary]:
    """A run for each number of sessions, or as many as it takes to find the largest."""

    async def measured(sessions: int) -> Summary:
        return await running.run(msgspec.structs.replace(scenario, sessions=sessions))

    async with server as running:
        if capacity_ms is None:
            return [await measured(number) for number in numbers]
        most, runs = await largest(measured, capacity_ms, most=_MOST_SESSIONS, first=numbers[0])
        console.print(f"{most} sessions with p95 of voice to voice within {capacity_ms:g} ms")
        return runs


@asynccontextmanager
async def _server(
    url: str | None,
    profile: str,
    question: Path,
    api_key: str | None,
    pid: int | None,
    redis_url: str | None,
    silence_ms: int,
) -> AsyncIterator[Bench]:
    if url is not None:
        yield Bench(url, question, api_key, pid, redis_url)
        return
    # Clients of the original protocol cannot say how long a silence ends a question. Everybody is
    # let in: what the server can carry is to be found, and not what it takes itself to carry.
    async with serving(profile, silence_ms=silence_ms, queue_limit_ms=0) as server:
        yield Bench(server.url, question, None, server.pid, server.redis_url)


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= _MOST_SESSIONS for number in numbers):
        _fail(f"--sessions must be numbers from 1 to {_MOST_SESSIONS} and commas, not {text!r}")
    return numbers


def _write(
    runs: list[Summary], output: Path | None, report: Path | None, pictures: Path | None
) -> None:
    if output is not None:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(runs), indent=2))
    if report is None and pictures is None:
        return
    drawn = _drawn(runs)
    if report is not None:
        report.write_text(page("Under load", runs, drawn), encoding="utf-8")
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for name, png in drawn.items():
            (pictures / f"{name}.png").write_bytes(png)


def _show(runs: list[Summary]) -> None:
    console.print(table(runs))
    for each in runs:
        for said in remarks(each):
            console.print(said, style="yellow", markup=False, soft_wrap=True)


def _drawn(runs: list[Summary]) -> dict[str, bytes]:
    try:
        from bench.load.plots import pictures
    except ModuleNotFoundError as error:
        _fail(f"plots need the package {error.name!r}: pip install 'parley[bench]'")
    return pictures(runs)


def _fail(reason: str) -> NoReturn:
    Console(stderr=True).print(f"parley bench: {reason}", style="red", markup=False, soft_wrap=True)
    sys.exit(1)


app = typer.Typer(add_completion=False)
app.command()(bench)

if __name__ == "__main__":
    app(prog_name="parley bench")
