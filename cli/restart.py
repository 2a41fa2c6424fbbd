"""`parley restart`: the processes of a running `parley up`, one after another."""

import asyncio
import socket
import time
import xmlrpc.client
from http.client import HTTPException
from pathlib import Path
from typing import Annotated

import typer
from redis.exceptions import RedisError

from cli.address import answers, local_url
from cli.console import console, fail, load_settings
from cli.runtime import running, settings_of
from cli.supervisor import Supervisor, kind
from shared.broker import Pipe, connect
from shared.heartbeat import living
from shared.logs import printable
from shared.settings import Settings

_POLL_S = 0.1
_READY_S = 300  # a large model may take minutes to load


def restart(
    programs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Such as stt, which is all its workers, or stt-2; else all but broker."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the `parley up` that is meant.")] = None,
) -> None:
    """Restarts what a running `parley up` runs, one process after another, under load.

    Each one finishes the work at hand or hands it over, and the next one goes only when it is
    ready again. So no turn is lost, and where a stage has two workers it never pauses. The
    broker is left alone unless it is named.

    Examples:

      parley restart

      parley restart stt llm --port 9000
    """
    folder = running(load_settings(port=port).port)
    try:
        unclean = asyncio.run(_restart(folder, programs or []))
    except (OSError, HTTPException, RedisError, xmlrpc.client.Error) as error:
        fail(f"`parley up` or its broker went away meanwhile: {printable(str(error))}")
    if unclean:
        fail(f"{' and '.join(unclean)} had to be killed or ended with an error, and runs again")


async def _restart(folder: Path, wanted: list[str]) -> list[str]:
    """Restarts what is wanted; returns the names of those that did not end with exit code 0."""
    config = settings_of(folder)
    supervisor = Supervisor(folder)
    unclean = []
    async with Pipe(connect(config.redis_url)) as pipe:
        for name in _chosen(supervisor.programs(), wanted):
            started = time.monotonic()
            with console.status(f"{name} restarts"):
                # In a thread, because it must go on to start what it stopped even if this
                # command is interrupted.
                exit_code = await asyncio.to_thread(supervisor.restart, name)
                await _until_ready(supervisor, name, config, pipe)
            console.print(f"{name:<8}  ready after {time.monotonic() - started:.1f} s")
            if exit_code != 0:
                unclean.append(name)
    return unclean


def _chosen(programs: list[str], wanted: list[str]) -> list[str]:
    """The programs meant, in the order in which a turn passes them."""
    for name in wanted:
        if name not in programs and name not in map(kind, programs):
            fail(f"there is no program {name!r}: name any of {', '.join(programs)}")
    if not wanted:
        return [program for program in programs if program != "broker"]
    return [program for program in programs if {program, kind(program)} & {*wanted}]


async def _until_ready(supervisor: Supervisor, name: str, config: Settings, pipe: Pipe) -> None:
    """Waits for a program that was just started; ends the command if it does not come."""
    advice = "what it said is in the log of `parley up`"
    try:
        async with asyncio.timeout(_READY_S):
            while pid := await asyncio.to_thread(supervisor.pid, name):
                if await _is_ready(kind(name), pid, config, pipe):
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        fail(f"{name} was not ready within {_READY_S} s: {advice}")
    fail(f"{name} ended as it started: {advice}")


async def _is_ready(kind: str, pid: int, config: Settings, pipe: Pipe) -> bool:
    if kind == "gateway":
        return await asyncio.to_thread(answers, f"{local_url(config)}/health")
    if kind == "broker":
        return bool(await pipe.command("PING"))
    here = socket.gethostname()
    return any(
        (worker.stage, worker.pid, worker.host) == (kind, pid, here) and worker.ready
        for worker in await living(pipe)
    )
