"""Throws malformed frames at a running gateway, and checks that nobody beside them notices.

    python -m bench.fuzz --frames 100000
    python -m bench.fuzz --frames 10000 --url ws://127.0.0.1:8080   # one that runs already

Starts a broker, a gateway and workers of its own, whose engines take no time, unless there is a
`--url`: then only answers are checked. What is thrown follows from `--seed`; when it meets what,
the machine decides.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from bench.fuzz.campaign import Outcome, Plan, run, throw
from bench.fuzz.report import footprint_table, totals
from bench.fuzz.tally import Tally
from cli.broker import find_server

console = Console(
    width=None if sys.stdout.isatty() else 120, highlight=False, markup=False, emoji=False
)


def main(
    frames: Annotated[int, typer.Option(help="At least so many malformed frames.")] = 100_000,
    seed: Annotated[int, typer.Option(help="What the run is drawn from.")] = 1,
    throwers: Annotated[int, typer.Option(help="Connections at a time.")] = 16,
    rounds: Annotated[int, typer.Option(help="After each, memory is looked at.")] = 4,
    neighbours: Annotated[int, typer.Option(help="Sessions that behave.")] = 3,
    alone_s: Annotated[float, typer.Option(help="How long those talk alone first.")] = 30.0,
    url: Annotated[str, typer.Option(help="A gateway that runs already.")] = "",
) -> None:
    """Throws frames, and exits with 1 if anything was wrong."""
    plan = Plan(seed, frames, throwers, rounds, neighbours, alone_s)
    if url:
        outcome = asyncio.run(_at(urlsplit(url).netloc, plan))
    else:
        folder = Path(tempfile.mkdtemp(prefix="parley-fuzz-"))
        _tell(f"seed {seed}; logs in {folder}")
        outcome = asyncio.run(_own(plan, folder))
        console.print(footprint_table(outcome))
    for line in totals(outcome):
        _tell(line)
    if outcome.tally.problems:
        sys.exit(1)
    if not url:
        shutil.rmtree(folder)


async def _own(plan: Plan, folder: Path) -> Outcome:
    """SIGTERM ends it as Ctrl-C does, so that no process is left."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(plan, folder, find_server(), _tell)


async def _at(host: str, plan: Plan) -> Outcome:
    outcome = Outcome(Tally(_tell))
    started_s = time.monotonic()
    await throw(host, plan, outcome.tally, plan.frames)
    outcome.seconds = time.monotonic() - started_s
    return outcome


def _tell(line: str) -> None:
    console.print(line, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
