"""`parley models`: which models there are, and bringing them onto this machine."""

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from cli.console import console, fail, load_settings
from shared import logs
from shared.models import FetchError, ModelMissing, Progress, fetch, needed, resolve, starter_pack
from shared.profiles import STAGES, Stage
from shared.settings import Settings

_LINE_EVERY_S = 5

log = logging.getLogger(__name__)

app = typer.Typer(no_args_is_help=True, help="The models on this machine, and how to get more.")


@app.command(name="list")
def list_() -> None:
    """Lists the starter pack and the models the settings name.

    Any other model is named by its Hugging Face id (owner/name) or by a path.

    Examples:

      parley models list
    """
    config = load_settings()
    pack = starter_pack()
    used = needed(config)
    table = Table(
        "  Model", "Stage", "What it is", "License", "Size", "Here", box=None, pad_edge=False
    )
    for column in table.columns:
        column.no_wrap = True
    for name, model in pack.models.items():
        size = f"{model.bytes / 1e6:.0f} MB"
        here = "yes" if model.is_whole(config.models_dir / name) else "no"
        marked = f"* [bold]{name}[/]" if name in used else f"  {name}"
        table.add_row(marked, model.stage, model.about, model.license, size, here)
    for name in used:
        if name not in pack.models:
            table.add_row(f"* [bold]{name}[/]", "", "", "", "", _here(name, config))
    console.print(table)
    console.print(f"\n* loaded by the `{config.profile}` profile as it is set up", style="dim")
    console.print(f"Kept in {config.models_dir}", style="dim", soft_wrap=True)


@app.command(name="fetch")
def fetch_(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names from `parley models list`, or Hugging Face ids (owner/name)."
            " Without any, the models the profile needs."
        ),
    ] = None,
    stage: Annotated[
        Stage | None, typer.Option(help="Only what this stage needs of the profile's models.")
    ] = None,
) -> None:
    """Brings models onto this machine; those that are here already cost nothing.

    Examples:

      parley models fetch

      parley models fetch whisper-base

      parley models fetch --stage stt
    """
    config = load_settings()
    logs.set_up("parley", config.log_level, config.log_format)
    for name in names or needed(config, [stage] if stage else STAGES):
        folder = _fetch(name, config)
        console.print(f"[bold]{name}[/] is in {folder}", soft_wrap=True)


def fetch_missing(config: Settings, stages: Collection[Stage] = STAGES) -> None:
    """Fetches what the engines of these stages need and this machine lacks."""
    for name in needed(config, stages):
        if _here(name, config) == "no":
            _fetch(name, config)


def _here(name: str, config: Settings) -> str:
    try:
        resolve(name, config.models_dir)
    except ModelMissing:
        return "no"
    return "yes"


def _fetch(name: str, config: Settings) -> str:
    try:
        with _shown(name) as progress:
            return str(fetch(name, progress, config.models_dir))
    except FetchError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot keep {name} in {config.models_dir}: {error.strerror}")


@contextmanager
def _shown(name: str) -> Iterator[Progress]:
    """Where a fetch reports to: a bar on a terminal, a line every few seconds elsewhere."""
    if not console.is_terminal:
        yield _Lines(name)
        return
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        bar = bars.add_task(name, total=None, visible=False)
        yield lambda done, total: bars.update(bar, completed=done, total=total, visible=True)


class _Lines:
    """Progress in a log."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said_s = -float(_LINE_EVERY_S)

    def __call__(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= _LINE_EVERY_S or done == total:
            self._said_s = now_s
            log.info("fetching %s: %.0f of %.0f MB", self._name, done / 1e6, total / 1e6)
