"""`python -m bench.vad`."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from bench.vad.steps import SESSIONS, WINDOW_MS, installed, steps_ms
from bench.vad.worker import Load, measure

console = Console()


def main(
    sessions: Annotated[
        str, typer.Option(help="How many sessions a worker listens to; several with commas.")
    ] = "0,10,100,300",
    seconds: Annotated[float, typer.Option(help="How long each is watched.")] = 12.0,
    engine: Annotated[str, typer.Option(help="The worker's engine.")] = "silero",
    profile: Annotated[
        Path | None, typer.Option(help="Where sampled stacks go; then its parts are shown.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Where the result goes, as JSON.")] = None,
) -> None:
    """Measures a step of each engine that is installed, and whole workers."""
    steps = {name: steps_ms(name) for name in installed()}
    _show_steps(steps)
    loads = []
    for number in map(int, sessions.split(",")):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            loads.append(runner.run(measure(engine, number, seconds, profile)))
        _show(loads[-1])
    if json is not None:
        worker = [asdict(load) for load in loads]
        result: dict[str, Any] = {"engine": engine, "steps": steps, "worker": worker}
        json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))


def _show_steps(steps: dict[str, dict[int, float]]) -> None:
    table = Table("a step, in ms", *(f"{sessions} sessions" for sessions in SESSIONS), box=None)
    for name, by_batch in steps.items():
        table.add_row(name, *(f"{ms:.2f}" for ms in by_batch.values()))
    console.print(table)
    console.print(f"A step hears {WINDOW_MS} ms of audio.")


def _show(load: Load) -> None:
    console.print(
        f"{load.sessions} sessions: {100 * load.cpu_s_per_s:.1f} % of a core for"
        f" {load.heard_s_per_s:.1f} s of audio a second, {load.batch:.1f} windows a step,"
        f" the broker {100 * load.broker_cpu_s_per_s:.1f} %, {load.rss_bytes / 1e6:.0f} MB;"
        f" {load.turns} turns, behind by {load.behind_p50_ms:.0f} ms (median),"
        f" {load.behind_ms:.0f} ms (p99)"
    )
    for part, share in load.parts.items():
        console.print(f"  {100 * share:5.1f} % {part}")


if __name__ == "__main__":
    typer.run(main)
