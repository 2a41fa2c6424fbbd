"""What an idle system costs: CPU time of every process of a running `parley up`.

python -m bench.idle <pid of parley up> --seconds 60
"""

import time
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table


def main(
    pid: Annotated[int, typer.Argument(help="Process id of a running `parley up`.")],
    seconds: Annotated[float, typer.Option(help="How long to watch.")] = 60.0,
) -> None:
    """Prints the share of one core that each process used."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    before = {process.pid: _cpu_s(process) for process in family}
    time.sleep(seconds)
    table = Table(box=None)
    table.add_column("process")
    table.add_column("% of one core", justify="right")
    table.add_column("MB resident", justify="right")
    total = 0.0
    for process in family:
        share = 100 * (_cpu_s(process) - before[process.pid]) / seconds
        total += share
        megabytes = process.memory_info().rss / 1e6
        table.add_row(_name(process), f"{share:.2f}", f"{megabytes:.0f}")
    table.add_row("all", f"{total:.2f}", "", style="bold")
    Console().print(table)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _name(process: psutil.Process) -> str:
    command = process.cmdline()
    return command[command.index("-m") + 1] if "-m" in command else process.name()


if __name__ == "__main__":
    typer.run(main)
