"""The command behind `parley bench`."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.load.capacity import largest
from bench.load.machine import Meter
from bench.load.protocols import question_of
from bench.load.record import Record, Turn
from bench.load.report import page, table
from bench.load.run import GeneratorFailed, run
from bench.load.scenario import Scenario
from bench.load.server import NotReady, serving
from bench.load.summary import Summary
from shared.audio import AudioError

_MOST_SESSIONS = 2_000

console = Console()


class _Arrival(StrEnum):
    together = "together"
    staggered = "staggered"


class _Protocol(StrEnum):
    realtime = "realtime"
    original = "original"


class Bench:
    """Runs scenarios against one server."""

    def __init__(
        self, url: str, question: Path, api_key: str | None, pid: int | None, redis_url: str | None
    ) -> None:
        self._url, self._question, self._api_key = url, question, api_key
        self._meter = Meter.of(pid, redis_url) if pid is not None else None
        self.runs: list[Summary] = []

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

            summary = await run(
                scenario, self._url, self._question, self._api_key, self._meter, note
            )
        self.runs.append(summary)
        return summary


def bench(
    question: Annotated[
        Path, typer.Argument(help="What the callers ask: a 16-bit WAV file.", dir_okay=False)
    ],
    url: Annotated[
        str | None, typer.Option(help="The server. Without one, a `parley up` is started.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Its engines, where one is started.")] = "cpu",
    pid: Annotated[
        int | None,
        typer.Option(help="Process id of the server, if it is on this machine."),
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Its broker, to count commands.", envvar="PARLEY_REDIS_URL")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="PARLEY_API_KEY", help="The server's API key.")
    ] = None,
    protocol: Annotated[_Protocol, typer.Option(help="What is spoken.")] = _Protocol.realtime,
    sessions: Annotated[
        str, typer.Option(help="How many at once; several runs are separated by commas.")
    ] = "1",
    turns: Annotated[int, typer.Option(min=1, help="Questions of each session.")] = 5,
    warm_up: Annotated[int, typer.Option(min=0, help="Of these, how many do not count.")] = 1,
    arrival: Annotated[
        _Arrival, typer.Option(help="Whether all ask at the same instant.")
    ] = _Arrival.staggered,
    ramp_s: Annotated[float, typer.Option(min=0, help="Over how long the sessions arrive.")] = 0,
    every_s: Annotated[
        float | None,
        typer.Option(help="A question begins so long after the last, answered or not."),
    ] = None,
    pause_s: Annotated[
        float, typer.Option(min=0, help="Else: so long after an answer was heard.")
    ] = 1,
    interrupt: Annotated[
        int, typer.Option(min=0, help="Every so many-th answer is talked over; 0 is none.")
    ] = 0,
    silence_ms: Annotated[int, typer.Option(min=0, help="Silence that ends a question.")] = 300,
    capacity_ms: Annotated[
        float | None,
        typer.Option(help="Search the most sessions whose p95 of voice to voice is within this."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the result goes, as JSON.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Where the report goes, as HTML.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Where its plots go, as PNG.")] = None,
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
    numbers = _numbers(sessions)

    async def work() -> list[Summary]:
        async with _bench(url, profile, question, api_key, pid, redis_url) as measured:
            if capacity_ms is None:
                for number in numbers:
                    await measured.run(msgspec.structs.replace(scenario, sessions=number))
                return measured.runs
            most, _ = await largest(
                lambda number: measured.run(msgspec.structs.replace(scenario, sessions=number)),
                capacity_ms,
                most=_MOST_SESSIONS,
                first=numbers[0],
            )
            console.print(f"{most} sessions with p95 of voice to voice within {capacity_ms:g} ms")
            return measured.runs

    try:
        question_of(scenario, question)  # before a server is started for nothing
        runs = asyncio.run(work())
        _write(runs, output, report, pictures)
    except (AudioError, OSError, GeneratorFailed, NotReady) as error:
        _fail(str(error))
    console.print(table(runs))
    for each in runs:
        for problem, number in each.problems.items():
            console.print(f"{number}x {problem}", style="yellow", markup=False, soft_wrap=True)
    if capacity_ms is None and any(each.unanswered or each.refused or each.broken for each in runs):
        raise typer.Exit(1)


@contextlib.asynccontextmanager
async def _bench(
    url: str | None,
    profile: str,
    question: Path,
    api_key: str | None,
    pid: int | None,
    redis_url: str | None,
) -> AsyncIterator[Bench]:
    if url is not None:
        yield Bench(url, question, api_key, pid, redis_url)
        return
    async with serving(profile) as server:
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
