"""`parley restart`: the processes of a running `parley up`, one after another."""

import asyncio
import configparser
import contextlib
import socket
import time
import xmlrpc.client
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError
from supervisor.xmlrpc import Faults, SupervisorTransport

from cli.address import answers, local_url
from cli.console import console, fail, load_settings
from cli.runtime import running, settings_of
from shared.broker import Pipe, connect
from shared.heartbeat import living
from shared.logs import printable
from shared.profiles import STAGES
from shared.settings import Settings

_ORDER = [*STAGES, "gateway", "broker"]
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
    supervisor = _Supervisor(folder)
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
        if name not in programs and name not in map(_kind, programs):
            fail(f"there is no program {name!r}: name any of {', '.join(programs)}")
    if not wanted:
        return [program for program in programs if program != "broker"]
    return [program for program in programs if {program, _kind(program)} & {*wanted}]


def _kind(program: str) -> str:
    """ "stt" of "stt-2"."""
    return program.partition("-")[0]


async def _until_ready(supervisor: "_Supervisor", name: str, config: Settings, pipe: Pipe) -> None:
    """Waits for a program that was just started; ends the command if it does not come."""
    advice = "what it said is in the log of `parley up`"
    try:
        async with asyncio.timeout(_READY_S):
            while pid := await asyncio.to_thread(supervisor.pid, name):
                if await _is_ready(_kind(name), pid, config, pipe):
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


class _Supervisor:
    """supervisord's control interface."""

    def __init__(self, folder: Path) -> None:
        config = configparser.RawConfigParser()
        config.read(folder / "supervisord.conf")
        server = config["unix_http_server"]
        transport = SupervisorTransport(
            server["username"], server["password"], f"unix://{folder / 'supervisor.sock'}"
        )
        proxy: Any = xmlrpc.client.ServerProxy("http://supervisor", transport)
        self._calls = proxy.supervisor
        self._groups = {row["name"]: row["group"] for row in self._calls.getAllProcessInfo()}

    def programs(self) -> list[str]:
        """Names of all programs, in the order in which a turn passes them, the broker last."""

        def place(program: str) -> tuple[int, int]:
            kind, _, number = program.partition("-")
            return _ORDER.index(kind), int(number or 0)

        return sorted(self._groups, key=place)

    def pid(self, name: str) -> int:
        """The program's process, 0 if none runs."""
        pid: int = self._calls.getProcessInfo(self._full(name))["pid"]
        return pid

    def restart(self, name: str) -> int:
        """Stops a program and starts it again; returns its exit code, -1 if it was killed."""
        with _passing(Faults.NOT_RUNNING):
            self._calls.stopProcess(self._full(name))
        exit_code: int = self._calls.getProcessInfo(self._full(name))["exitstatus"]
        with _passing(Faults.ALREADY_STARTED):
            self._calls.startProcess(self._full(name), False)
        return exit_code

    def _full(self, name: str) -> str:
        return f"{self._groups[name]}:{name}"


@contextlib.contextmanager
def _passing(code: int) -> Iterator[None]:
    """Lets one refusal pass: supervisord itself may have done meanwhile what is asked."""
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != code:
            raise
