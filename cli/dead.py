"""`parley dead`: the jobs that failed on every attempt."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from cli.console import ago, console, fail
from cli.reach import Port, broker_ms, with_broker
from cli.tables import add_rest, wide
from shared.audio import SAMPLE_RATE, pcm16, write_wav
from shared.broker import Pipe
from shared.keys import Keyspace
from shared.logs import printable
from shared.messages import MessageError, SttJob
from shared.scripts import dead
from shared.scripts.dead import DeadJob

_NAME = re.compile(r"\d{1,4}/\d{1,19}-\d{1,19}")
_REFUSALS = {
    "missing": "it is not among the dead any more",
    "gone": "its session has ended",
    "over": "its response is over",
}

app = typer.Typer(
    no_args_is_help=True,
    help="Jobs that failed on every attempt: look at them, put them back to work, remove them.",
)

Names = Annotated[list[str] | None, typer.Argument(help="Ids from `parley dead list`.")]
All = Annotated[bool, typer.Option("--all", help="Every one of them.")]


@app.command(name="list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    port: Port = None,
) -> None:
    """Lists the dead jobs of all shards, the oldest first.

    Examples:

      parley dead list

      parley dead list --json | jq '.[].error'
    """

    async def rows(pipe: Pipe, keyspace: Keyspace) -> list[dict[str, str | float | None]]:
        now_ms = await broker_ms(pipe)
        return [_summary(job, now_ms) async for job in _every(pipe, keyspace)]

    found = with_broker(rows, port)
    if as_json:
        print(json.dumps(found, indent=2))
    elif not found:
        console.print("No job is dead.")
    else:
        console.print(_table(found))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="An id from `parley dead list`.")],
    audio: Annotated[
        Path | None,
        typer.Option(metavar="WAV", help="Where to write the audio of a transcription's job."),
    ] = None,
    port: Port = None,
) -> None:
    """Shows all that is known of a dead job.

    Examples:

      parley dead show 0/1700000000000-0

      parley dead show 0/1700000000000-0 --audio turn.wav
    """
    _check(name)

    async def known(pipe: Pipe, keyspace: Keyspace) -> tuple[DeadJob, bool]:
        job = await _find(pipe, keyspace, name)
        if job is None:
            fail(f"there is no dead job {name}: `parley dead list` shows those there are")
        return job, await _session_lives(pipe, job)

    job, lives = with_broker(known, port)
    grid = Table.grid(padding=(0, 2))
    for what, finding in _details(job, lives).items():
        grid.add_row(what, Text(printable(finding)))
    console.print(grid)
    if audio is not None:
        _write_audio(job, audio)


@app.command()
def retry(names: Names = None, all_: All = False, port: Port = None) -> None:
    """Puts dead jobs back to work, as if they were new.

    A job whose session has ended, or whose response is over, stays where it is: nobody waits
    for it. A transcription only needs its session.

    Examples:

      parley dead retry 0/1700000000000-0

      parley dead retry --all
    """

    async def put_back(pipe: Pipe, job: DeadJob) -> str:
        try:
            status = await dead.retry(pipe, job)
        except MessageError as error:
            return printable(str(error))
        return "" if status == "ok" else _REFUSALS[status]

    _for_each(put_back, names, all_, port, done="put back")


@app.command()
def drop(names: Names = None, all_: All = False, port: Port = None) -> None:
    """Removes dead jobs for good.

    Examples:

      parley dead drop 0/1700000000000-0

      parley dead drop --all
    """

    async def remove(pipe: Pipe, job: DeadJob) -> str:
        return "" if await dead.drop(pipe, job) else _REFUSALS["missing"]

    _for_each(remove, names, all_, port, done="removed")


def _for_each(
    act: Callable[[Pipe, DeadJob], Awaitable[str]],
    names: list[str] | None,
    all_: bool,
    port: int | None,
    *,
    done: str,
) -> None:
    """Does `act`, which returns what kept it from doing so, to each job that was named."""
    if bool(names) == all_:
        advice = "name jobs by their ids from `parley dead list`, or all of them with --all"
        raise typer.BadParameter(advice, param_hint="ID")
    for name in names or []:
        _check(name)

    async def work(pipe: Pipe, keyspace: Keyspace) -> tuple[int, int]:
        # Those of this moment: one that is put back may soon be among the dead again.
        chosen = names or [job.job_id async for job in _every(pipe, keyspace)]
        refused = 0
        for name in chosen:
            job = await _find(pipe, keyspace, name)
            problem = _REFUSALS["missing"] if job is None else await act(pipe, job)
            refused += bool(problem)
            verdict = f"not {done}: {problem}" if problem else done
            console.print(f"{name}  {verdict}", markup=False, soft_wrap=True)
        return len(chosen), refused

    chosen, refused = with_broker(work, port)
    if not chosen:
        console.print("No job is dead.")
    if refused:
        fail(f"{refused} of {chosen} jobs were not {done}")


# --- finding them ---


async def _every(pipe: Pipe, keyspace: Keyspace) -> AsyncIterator[DeadJob]:
    for shard in keyspace.all_shards():
        async for job in dead.dead_jobs(pipe, shard):
            yield job


async def _find(pipe: Pipe, keyspace: Keyspace, name: str) -> DeadJob | None:
    number, _, entry = name.partition("/")
    if int(number) >= keyspace.shards:
        return None
    return await dead.dead_job(pipe, keyspace.all_shards()[int(number)], entry)


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        fail(f"an id looks like 0/1700000000000-0, not {name!r}: `parley dead list` shows them")


# --- showing them ---


def _summary(job: DeadJob, now_ms: int) -> dict[str, str | float | None]:
    return {
        "id": job.job_id,
        "stage": job.stage,
        "session": None if isinstance(job.message, MessageError) else job.message.session_id,
        "died_at": _time(job.died_ms),
        "age_s": max(now_ms - job.died_ms, 0) / 1000,
        "error": job.error,
    }


def _table(rows: list[dict[str, str | float | None]]) -> Table:
    names = ["id", "stage", "session", "age", "error"]
    if not wide():
        names.remove("session")
    table = Table(box=None, pad_edge=False)
    for name in names[:-1]:
        table.add_column(name.upper() if name == "id" else name.capitalize(), no_wrap=True)
    add_rest(table, "Error")
    for row in rows:
        shown = {name: "" if value is None else str(value) for name, value in row.items()}
        shown["age"] = ago(float(shown["age_s"]))
        table.add_row(*(Text(printable(shown[name])) for name in names))
    return table


def _details(job: DeadJob, session_lives: bool) -> dict[str, str]:
    details = {
        "id": job.job_id,
        "stage": job.stage,
        "died_at": _time(job.died_ms),
        "error": job.error,
        "epoch": job.epoch,
        "session": "lives" if session_lives else "has ended",
    }
    if isinstance(job.message, MessageError):
        return {**details, "session": "unknown", "message": str(job.message)}
    fields = msgspec.structs.asdict(job.message)
    del fields["v"]
    if (pcm := fields.pop("pcm", None)) is not None:
        fields["audio"] = f"{len(pcm) / 2 / SAMPLE_RATE:.2f} s"
    return details | {name: str(value) for name, value in fields.items() if value not in (None, "")}


def _write_audio(job: DeadJob, path: Path) -> None:
    if not isinstance(job.message, SttJob):
        fail(f"a job of stage {printable(job.stage)} has no audio: only those of stage stt have")
    try:
        write_wav(path, pcm16(job.message.pcm), SAMPLE_RATE)
    except (OSError, ValueError) as error:
        fail(f"the audio was not written to {path}: {error}")


async def _session_lives(pipe: Pipe, job: DeadJob) -> bool:
    if isinstance(job.message, MessageError):
        return False
    return bool(await pipe.command("EXISTS", job.shard.session(job.message.session_id).state))


def _time(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds")
