"""`parley top`: a running system, live."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.console import console, fail
from cli.overview import Gateway, Latency, Overview, Process, Worker, overview
from cli.reach import Port, with_broker
from cli.tables import add_rest, plain_table, sessions, size
from cli.waterfall import STAGES, TOTAL
from shared.broker import Pipe
from shared.keys import Keyspace
from shared.logs import printable
from shared.waterfall import PARTS

_EVERY_S = 1.0
_NAMES = {part: STAGES[mark] for mark, part in PARTS.items()}


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON, for programs; with --once.")
    ] = False,
    port: Port = None,
) -> None:
    """Shows how a running system does, anew every second, until Ctrl-C.

    Sessions, latencies of the last five minutes, and every stage, worker and gateway, wherever
    they run: all that work on the same broker.

    Examples:

      parley top

      parley top --port 9000

      parley top --once --json | jq .voice_to_voice.p95_ms
    """
    if as_json and not once:
        raise typer.BadParameter("it is for --once", param_hint="--json")
    if not once and not console.is_terminal:
        fail("`parley top` needs a terminal: use --once, with --json for programs")
    if once:
        _show(with_broker(overview, port), as_json)
    else:
        with contextlib.suppress(KeyboardInterrupt):
            with_broker(_watch, port)


def _show(now: Overview, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(now), indent=2).decode() + "\n")
    else:
        console.print(rendered(now))


async def _watch(pipe: Pipe, keyspace: Keyspace) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            # No longer than until the next one: what is shown is never older than it seems.
            async with asyncio.timeout(10 * _EVERY_S):
                now = await overview(pipe, keyspace)
            live.update(rendered(now, console.height), refresh=True)
            await asyncio.sleep(_EVERY_S)


def rendered(now: Overview, height: int | None = None) -> RenderableType:
    """What a person is shown of it: in `height` lines if it fits into them with its tables close
    together. What then is too much is cut off at the end, so what matters most comes first."""
    head, tables = _headline(now), [_stages(now), _processes(now), _latencies(now)]
    lines = [head.plain.count("\n") + 1]
    lines += [table.row_count + 1 if isinstance(table, Table) else 1 for table in tables]
    apart = height is None or sum(lines) + len(tables) <= height
    return Group(head, *(each for table in tables for each in ("", table)[not apart :]))


def _headline(now: Overview) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(now.at_ms / 1000))
    counted, broker = now.sessions, now.broker
    text = Text.assemble(
        ("Parley", "bold"),
        f"  {clock}   ",
        (sessions(counted.open), "bold green" if counted.open else ""),
        f"  ({counted.opened} opened, {counted.resumed} resumed, {counted.refused} refused)",
        f"\n{broker.version}: {size(broker.memory_bytes)}, {broker.commands_per_s} commands/s",
    )
    if now.dead_jobs:
        text.append(f"   {now.dead_jobs} dead jobs: see `parley dead list`", "bold red")
    for gpu in now.gpus:
        share = f"{size(gpu.used_bytes)} of {size(gpu.total_bytes)}"
        text.append(f"\n{printable(gpu.name)} on {printable(gpu.host)}: {share}")
    return text


def _stages(now: Overview) -> Table:
    table = plain_table("stage", "ready", "load", "waiting", "delay")
    for stage in now.stages:
        style = (
            "" if stage.ready == stage.workers > 0 else "bold red" if not stage.ready else "yellow"
        )
        table.add_row(
            stage.stage,
            Text(f"{stage.ready} of {stage.workers}", style if stage.ready else "bold red"),
            _load(stage.load, stage.slots),
            str(stage.waiting),
            f"{stage.delay_ms} ms",
        )
    return table


def _processes(now: Overview) -> Table:
    table = plain_table("process", "state", "load", "cpu", "memory", "pid")
    table.columns[1].justify = "left"
    table.add_column("host", no_wrap=True)
    add_rest(table, "model")
    for gateway in now.gateways:
        table.add_row(*_row(gateway), "")
    for worker in now.workers:
        model = f"{worker.model} ({worker.device})" if worker.model else ""
        table.add_row(*_row(worker), printable(model))
    return table


def _row(process: Gateway | Worker) -> Iterator[str | Text]:
    if isinstance(process, Gateway):
        yield from ("gateway", "serving", f"{process.sessions}")
    else:
        state = Text("ready", "green") if process.ready else Text("loading", "yellow")
        yield from (process.stage, state, _load(process.load, process.slots))
    yield from _used(process)


def _used(process: Process) -> Iterator[str]:
    yield f"{process.cpu_percent:.0f} %"
    yield size(process.rss_bytes)
    yield str(process.pid)
    yield printable(process.host)


def _latencies(now: Overview) -> RenderableType:
    if now.voice_to_voice is None:
        return Text("No spoken turn was answered in the last five minutes.", "dim")
    table = plain_table(
        f"{now.voice_to_voice.turns} turns in five minutes, ms", "p50", "p95", "p99"
    )
    table.add_row(TOTAL, *_figures(now.voice_to_voice), style="bold")
    for part, latency in now.parts.items():
        table.add_row(_NAMES[part], *_figures(latency))
    return table


def _figures(latency: Latency) -> list[str]:
    return [f"{value:.0f}" for value in (latency.p50_ms, latency.p95_ms, latency.p99_ms)]


def _load(load: int, slots: int) -> str:
    return f"{load} of {slots}" if slots else f"{load}"
