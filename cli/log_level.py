"""`parley log-level`: what running processes log."""

import asyncio
from typing import Annotated, Literal

import typer

from cli.console import ago, console
from cli.reach import Port, with_broker
from cli.tables import plain_table
from shared import log_levels
from shared.broker import Pipe
from shared.keys import Keyspace
from shared.logs import Level

Process = Literal["gateway", "vad", "stt", "llm", "tts"]
Wanted = Literal["debug", "info", "warning", "error", "default"]


def log_level(
    level: Annotated[
        Wanted | None,
        typer.Argument(help="The least that is logged; `default` is what the settings say."),
    ] = None,
    stage: Annotated[
        Process | None,
        typer.Option(help="Whose log: `gateway`, or a stage's workers. All, if none is named."),
    ] = None,
    minutes: Annotated[
        int, typer.Option(min=1, max=24 * 60, help="After which the settings hold again.")
    ] = 60,
    port: Port = None,
) -> None:
    """Changes what the processes of a running system log; without a level, says what was changed.

    It reaches all of them within a second or two, wherever they run, also those that start later.
    Nothing of what people say is logged at any level.

    Examples:

      parley log-level debug --stage llm --minutes 10

      parley log-level

      parley log-level default
    """
    chosen = (stage,) if stage else log_levels.PROCESSES
    if level is None and stage:
        raise typer.BadParameter(
            "it says whose log changes: name a level, too", param_hint="--stage"
        )

    async def change(pipe: Pipe, _: Keyspace) -> dict[str, tuple[Level, int]]:
        if level == "default":
            await asyncio.gather(*(log_levels.end(pipe, process) for process in chosen))
        elif level is not None:
            await asyncio.gather(
                *(log_levels.ask(pipe, process, level, minutes * 60) for process in chosen)
            )
        return await log_levels.asked(pipe)

    found = with_broker(change, port)
    if not found:
        console.print("All processes log what their settings say.")
        return
    table = plain_table("Log of", "Level", "For")
    for process, (asked, left_s) in found.items():
        table.add_row(process, asked, ago(left_s))
    console.print(table)
