"""The system under test: real processes, each started again as soon as it ends."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.chaos.faults import Target
from bench.chaos.script import SILENCE_MS
from cli.address import answers
from cli.broker import Broker
from shared.profiles import STAGES
from shared.settings import environment

DRAINED_S = 20.0
"""How long after SIGTERM a process may take to end."""

_READY_S = 60.0
_GROWN_UP_S = 3.0
_AGAIN_S = 0.5
_POLL_S = 0.1


Blame = Callable[[str], None]


@dataclass
class Process:
    """One supervised process. `blame` is told how it ended when it should not have."""

    kind: Target
    name: str
    command: list[str]
    env: dict[str, str]
    log: Path
    blame: Blame
    pid: int = 0
    """0 while it is not running."""
    started_s: float = 0.0
    _silent_until: int = 0
    _allowed: set[int] = field(default_factory=set)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False

    async def keep(self) -> None:
        """Runs it, again and again until `stop`."""
        while not self._stopping:
            with self.log.open("ab") as log:
                self._silent_until = log.tell()
                process = await asyncio.create_subprocess_exec(
                    *self.command, env=self.env, stdout=log, stderr=log, start_new_session=True
                )
            self._allowed.clear()
            self._ended.clear()
            self.pid, self.started_s = process.pid, time.monotonic()
            status = await process.wait()
            self.pid = 0
            self._ended.set()
            if status not in self._allowed:
                due = f" instead of {sorted(self._allowed)}" if self._allowed else " by itself"
                self.blame(f"{self.name} ended with {status}{due}: {self._last_words()}")
                await asyncio.sleep(_AGAIN_S)  # it may not be able to run at all

    @property
    def grown_up(self) -> bool:
        """Whether it has been running long enough to be struck, and has said something: until
        then it may still be loading, and any signal ends it."""
        old = time.monotonic() - self.started_s > _GROWN_UP_S
        return bool(self.pid) and old and self._has_spoken

    async def grows_up(self) -> None:
        """Waits until it has been running for long enough to be at work, if it ever is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_S):
                while not self.grown_up:  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)

    @property
    def _has_spoken(self) -> bool:
        return self.log.stat().st_size > self._silent_until

    def _last_words(self) -> str:
        with self.log.open(errors="replace") as log:
            log.seek(self._silent_until)
            return (log.read().splitlines() or ["it said nothing"])[-1]

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs, and notes the exit status which that must lead to."""
        if number is signal.SIGKILL:
            self._allowed.add(-signal.SIGKILL)
        elif number is signal.SIGTERM:
            self._allowed.add(0)
        if self.pid:
            with contextlib.suppress(ProcessLookupError):  # it ended this moment
                os.kill(self.pid, number)

    async def ended(self, within_s: float) -> bool:
        """Whether the process at hand ends within a time."""
        try:
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def drained(self) -> None:
        """Waits for the end that SIGTERM asked for; kills what is not over in time."""
        if not await self.ended(DRAINED_S):
            self.blame(f"{self.name} did not end within {DRAINED_S:.0f} s of SIGTERM")
            self.signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Ends it for good."""
        self._stopping = True
        self.signal(signal.SIGTERM)
        if self.pid and not self._has_spoken:  # it was only just started: any signal ends it
            self._allowed.add(-signal.SIGTERM)
        if self.pid:
            await self.drained()


@dataclass(frozen=True)
class System:
    """A broker, gateways and workers. Use `running`."""

    broker: Broker
    processes: list[Process]
    ports: list[int]

    def of(self, kind: Target) -> list[Process]:
        """The processes of one kind."""
        return [process for process in self.processes if process.kind == kind]

    async def ready(self) -> None:
        """Waits until every gateway finds every stage served.

        Raises:
            TimeoutError: they did not become ready in time.
        """
        async with asyncio.timeout(_READY_S):
            for port in self.ports:
                url = f"http://127.0.0.1:{port}/ready"
                while not await asyncio.to_thread(answers, url):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def running(
    folder: Path, binary: Path, gateways: int, workers: int, blame: Blame, **settings: str
) -> AsyncIterator[System]:
    """A system whose data and logs are in `folder`, ready; it is stopped at the end.

    `blame` is told, in a sentence, of every process that ended when or how it should not have.

    Raises:
        TimeoutError: it did not become ready.
        BrokerError: the broker did not start.
    """
    broker = Broker(binary, folder / "broker")
    await asyncio.to_thread(broker.start)
    ports = [_free_port() for _ in range(gateways)]
    wanted = {"redis_url": broker.url, "silence_ms": str(SILENCE_MS), **settings}
    processes = [
        _process(folder, blame, "gateway", number, {**wanted, "host": "127.0.0.1", "port": port})
        for number, port in enumerate(ports)
    ]
    for stage in STAGES:
        processes += [_process(folder, blame, stage, number, wanted) for number in range(workers)]
    system = System(broker, processes, ports)
    try:
        async with asyncio.TaskGroup() as tasks:
            for process in processes:
                tasks.create_task(process.keep(), name=process.name)
            try:
                await system.ready()
                yield system
            finally:
                await asyncio.gather(*(process.stop() for process in processes))
    finally:
        await asyncio.to_thread(broker.stop)


def _process(
    folder: Path, blame: Blame, kind: Target, number: int, wanted: Mapping[str, str | int]
) -> Process:
    name = f"{kind}-{number}"
    module = "gateway" if kind == "gateway" else f"workers.{kind}"
    command = [sys.executable, "-m", module]
    return Process(kind, name, command, environment(**wanted), folder / f"{name}.log", blame)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
