"""The supervisord of a running `parley up`, asked and told through its control interface."""

import configparser
import contextlib
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.xmlrpc import Faults, SupervisorTransport

from shared.profiles import STAGES

_ORDER = [*STAGES, "gateway", "broker"]


class Running(NamedTuple):
    """A program as supervisord sees it: `state` is its word for it, `pid` 0 where none runs, and
    `since_s` how long it has been in that state, as far as it is one of running."""

    name: str
    state: str
    pid: int
    since_s: int


def kind(program: str) -> str:
    """ "stt" of "stt-2"."""
    return program.partition("-")[0]


class Supervisor:
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
        return sorted(self._groups, key=_place)

    def running(self) -> list[Running]:
        """Every program, in the same order."""
        found = (
            Running(row["name"], row["statename"], row["pid"], row["now"] - row["start"])
            for row in self._calls.getAllProcessInfo()
        )
        return sorted(found, key=lambda program: _place(program.name))

    def pid(self, name: str) -> int:
        """The program's process, 0 if none runs."""
        pid: int = self._calls.getProcessInfo(self._full(name))["pid"]
        return pid

    def restart(self, name: str) -> int:
        """Stops a program and starts it again; returns its exit code, -1 if it was killed."""
        with _passing(Faults.NOT_RUNNING):
            self._calls.stopProcess(self._full(name))
        exit_code: int = self._calls.getProcessInfo(self._full(name))["exitstatus"]
        # what ends at once may end before supervisord answers; who waits for its pid sees that
        with _passing(Faults.ALREADY_STARTED, Faults.SPAWN_ERROR):
            self._calls.startProcess(self._full(name), False)
        return exit_code

    def _full(self, name: str) -> str:
        return f"{self._groups[name]}:{name}"


def _place(program: str) -> tuple[int, int]:
    return _ORDER.index(kind(program)), int(program.partition("-")[2] or 0)


@contextlib.contextmanager
def _passing(*codes: int) -> Iterator[None]:
    """Lets some refusals pass: supervisord itself may have done meanwhile what is asked."""
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode not in codes:
            raise
