"""Kills, stops and cuts everything while people talk, and checks that nobody notices.

    python -m bench.chaos --turns 2000 --faults 500
    python -m bench.chaos --inject none --minutes 60     # does memory grow?

Starts a broker, gateways and workers of its own. The schedule of faults and what the sessions say
follow from `--seed` alone; when what happens meets when, the machine decides.
"""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.chaos.campaign import Campaign, Outcome, Plan
from bench.chaos.faults import GROUPS, kinds_of
from bench.chaos.real import questions
from bench.chaos.report import as_json, faults_table, memory_table, totals
from cli.broker import BrokerError, find_server

# Wide enough for the tables where there is no terminal.
console = Console(width=None if sys.stdout.isatty() else 120)


class Profile(StrEnum):
    """Engines. What real ones say and hear cannot be foretold: less is checked of it."""

    PACED = "paced"
    INSTANT = "instant"
    CPU = "cpu"


def main(
    seed: Annotated[int, typer.Option(help="What the run is drawn from.")] = 1,
    turns: Annotated[int, typer.Option(help="At least so many turns.")] = 2_000,
    faults: Annotated[int, typer.Option(help="At least so many faults.")] = 500,
    minutes: Annotated[float, typer.Option(help="At least so long.")] = 0.0,
    inject: Annotated[
        str, typer.Option(help=f"all, none, or some of {', '.join(GROUPS)}, with commas between.")
    ] = "all",
    every_s: Annotated[float, typer.Option(help="Seconds between faults, on average.")] = 1.5,
    most_at_once: Annotated[int, typer.Option(help="Faults that may overlap.")] = 3,
    sessions: Annotated[int, typer.Option(help="Sessions at a time.")] = 48,
    turns_each: Annotated[int, typer.Option(help="Turns of a session.")] = 8,
    pause_s: Annotated[float, typer.Option(help="Between a session's turns, on average.")] = 8.0,
    gateways: Annotated[int, typer.Option(help="How many gateways.")] = 2,
    workers: Annotated[int, typer.Option(help="How many workers of each stage.")] = 2,
    profile: Annotated[
        Profile, typer.Option(help="Engines: paced (instant ones that take their time) or others.")
    ] = Profile.PACED,
    broker: Annotated[
        Path | None, typer.Option(help="The broker's binary; default: as in `parley up`.")
    ] = None,
    sample_s: Annotated[float, typer.Option(help="Seconds between samples of memory.")] = 5.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where to write everything as JSON.")
    ] = None,
) -> None:
    """Runs conversations and faults against a system, and exits with 1 if anything was wrong."""
    try:
        kinds = kinds_of(inject)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--inject") from error
    plan = Plan(
        seed=seed,
        profile=profile.value,
        sessions=sessions,
        turns_each=turns_each,
        pause_s=pause_s,
        gateways=gateways,
        workers=workers,
        kinds=kinds,
        every_s=every_s,
        most_at_once=most_at_once,
        turns=turns,
        faults=faults,
        minutes=minutes,
        sample_s=sample_s,
    )
    folder = Path(tempfile.mkdtemp(prefix="parley-chaos-"))
    console.print(f"seed {seed}; logs in {folder}", soft_wrap=True)
    started_s = time.monotonic()

    def tell(line: str) -> None:
        at_s = time.monotonic() - started_s
        console.print(f"[red]{at_s:6.1f}[/] {line} (logs in {folder})", soft_wrap=True)

    try:
        campaign = Campaign(plan, folder, tell, questions() if profile is Profile.CPU else ())
        outcome = asyncio.run(_run(campaign, broker or find_server()))
    except (BrokerError, TimeoutError) as error:
        console.print(f"[red]the run broke off: {error or 'not ready in time'}[/]: see {folder}")
        sys.exit(2)
    for table in (faults_table(outcome), memory_table(outcome)):
        if table.row_count:
            console.print(table)
    console.print(totals(outcome), soft_wrap=True)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(plan, outcome), indent=1))
    if outcome.violations:
        console.print(f"[red]{len(outcome.violations)} violations[/]: logs in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


async def _run(campaign: Campaign, binary: Path) -> Outcome:
    """The campaign; SIGTERM ends it as Ctrl-C does, so that no process is left."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await campaign.run(binary)


if __name__ == "__main__":
    typer.run(main)
