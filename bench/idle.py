"""What an idle system costs: CPU time of every process of a `parley up`.

python -m bench.idle
python -m bench.idle <pid of a running parley up> --seconds 60
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from bench.load.machine import Costs, Meter
from bench.load.server import serving

_SETTLED_S = 5.0  # until what a start leaves to do is done


def main(
    pid: Annotated[
        int | None, typer.Argument(help="Of a running `parley up`. Without, one is started.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Its engines, where one is started.")] = "cpu",
    seconds: Annotated[float, typer.Option(help="How long to watch.")] = 60.0,
    json: Annotated[Path | None, typer.Option(help="Where the result goes, as JSON.")] = None,
) -> None:
    """Prints the share of one core that each process used."""
    costs = asyncio.run(_watch(pid, profile, seconds))
    table = Table(box=None)
    table.add_column("process")
    table.add_column("% of one core", justify="right")
    table.add_column("MB resident", justify="right")
    for process in costs.processes:
        megabytes = process.rss_bytes / 1e6
        table.add_row(process.name, f"{100 * process.cores:.2f}", f"{megabytes:.0f}")
    together = sum(process.cores for process in costs.processes)
    table.add_row("all", f"{100 * together:.2f}", "", style="bold")
    Console().print(table)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=2))


async def _watch(pid: int | None, profile: str, seconds: float) -> Costs:
    async with contextlib.AsyncExitStack() as stack:
        if pid is None:
            pid = (await stack.enter_async_context(serving(profile))).pid
            await asyncio.sleep(_SETTLED_S)
        meter = Meter.of(pid, None)
        await meter.begin()
        await asyncio.sleep(seconds)
        return await meter.end()


if __name__ == "__main__":
    typer.run(main)
