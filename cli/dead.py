"""`parley dead`: the jobs that failed on every attempt."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from redis.exceptions import RedisError
from rich.table import Table
from rich.text import Text

from cli.console import console, fail, load_settings
from cli.runtime import running, settings_of
from shared.audio import SAMPLE_RATE, pcm16, write_wav
from shared.broker import Pipe, connect
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

Port = Annotated[
    int | None,
    typer.Option(help="The `parley up` that is meant; else PARLEY_REDIS_URL, else PARLEY_PORT."),
]
Names = Annotated[list[str] | None, typer.Argument(help="Ids from `parley dead list`.")]
All = Annotated[bool, typer.Option("--all", help="Every one of them.")]
T = TypeVar("T")


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
        now_ms = await _now_ms(pipe)
        return [_summary(job, now_ms) async for job in _every(pipe, keyspace)]

    found = _with_broker(rows, port)
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

    job, lives = _with_broker(known, port)
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
        fail("name jobs by their ids from `parley dead list`, or all of them with --all")
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

    chosen, refused = _with_broker(work, port)
    if not chosen:
        console.print("No job is dead.")
    if refused:
        fail(f"{refused} of {chosen} jobs were not {done}")


# --- finding them ---


def _with_broker(work: Callable[[Pipe, Keyspace], Awaitable[T]], port: int | None) -> T:
    """Does `work` on the broker that `port` or the settings name; ends the command if it fails."""
    config = load_settings(port=port)
    if port is not None or "redis_url" not in config.model_fields_set:
        config = settings_of(running(config.port))

    async def connected() -> T:
        try:
            redis = connect(config.redis_url)
        except ValueError:
            fail("PARLEY_REDIS_URL must look like redis://:password@host:6379/0")
        await redis.ping()  # a pipe would wait for a broker that is away
        async with Pipe(redis) as pipe:
            return await work(pipe, Keyspace(config.shards, config.lanes))

    try:
        return asyncio.run(connected())
    except (RedisError, OSError) as error:
        fail(f"the broker gives no answer ({printable(str(error))}): check PARLEY_REDIS_URL")


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
    table = Table("ID", "Stage", "Session", "Age", "Error", box=None, pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    table.columns[-1].overflow = "ellipsis"
    for row in rows:
        shown = {name: "" if value is None else str(value) for name, value in row.items()}
        shown["age"] = _age(float(shown["age_s"]))
        cells = [shown[name] for name in ("id", "stage", "session", "age", "error")]
        table.add_row(*(Text(printable(cell)) for cell in cells))
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
    return details | {name: str(value) for name, value in fields.items() if value is not None}


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


async def _now_ms(pipe: Pipe) -> int:
    """The broker's clock, by which jobs are named."""
    seconds, micros = await pipe.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def _time(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _age(age_s: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if age_s >= length_s:
            return f"{age_s / length_s:.0f} {unit}"
    return f"{age_s:.0f} s"
