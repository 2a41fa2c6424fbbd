"""What a run costs the server: CPU and memory of its processes, and the broker's commands."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import psutil
from redis.asyncio import Redis

from shared.broker import answer, connect

# What only follows or asks is no work of a session's.
_OWN_COMMANDS = {"info", "client", "hello", "auth", "ping"}


class Cost(msgspec.Struct, kw_only=True):
    """Of one process: CPU time as a share of one core, and resident memory at the end in bytes."""

    name: str
    cores: float
    rss_bytes: int


class Costs(msgspec.Struct, kw_only=True):
    """Of a whole run."""

    seconds: float
    processes: list[Cost]
    commands_per_s: float | None = None
    commands: dict[str, float] = {}


@dataclass(slots=True)
class Meter:
    """Reads the processes and the broker at the beginning and the end of a run."""

    processes: list[psutil.Process]
    broker: Redis | None
    _began_s: float = 0.0
    _cpu_s: dict[int, float] | None = None
    _calls: dict[str, int] | None = None

    @classmethod
    def of(cls, pid: int, redis_url: str | None) -> "Meter":
        """Of a process and all below it, and of a broker's."""
        parent = psutil.Process(pid)
        processes = [parent, *parent.children(recursive=True)]
        return cls(processes, connect(redis_url) if redis_url else None)

    async def begin(self) -> None:
        """From here on costs count."""
        self._began_s = time.monotonic()
        self._cpu_s = {process.pid: _cpu_s(process) for process in self._living()}
        self._calls = await self._broker_calls()

    async def end(self) -> Costs:
        """What was spent since `begin`."""
        assert self._cpu_s is not None, "begin comes first"
        seconds = time.monotonic() - self._began_s
        costs = [
            Cost(
                name=_name(process),
                cores=(_cpu_s(process) - self._cpu_s[process.pid]) / seconds,
                rss_bytes=process.memory_info().rss,
            )
            for process in self._living()
        ]
        result = Costs(seconds=seconds, processes=costs)
        before, after = self._calls, await self._broker_calls()
        if before is not None and after is not None:
            spent = {name: (after[name] - before.get(name, 0)) / seconds for name in after}
            result.commands = {name: rate for name, rate in spent.items() if rate}
            result.commands_per_s = sum(result.commands.values())
        return result

    def _living(self) -> Iterable[psutil.Process]:
        return [process for process in self.processes if process.is_running()]

    async def _broker_calls(self) -> dict[str, int] | None:
        if self.broker is None:
            return None
        stats = await answer(self.broker.info("commandstats"))
        calls = {name.removeprefix("cmdstat_"): int(of["calls"]) for name, of in stats.items()}
        return {name: number for name, number in calls.items() if name not in _OWN_COMMANDS}


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _name(process: psutil.Process) -> str:
    """The module that it runs, or the program's name."""
    command = process.cmdline()
    return command[command.index("-m") + 1] if "-m" in command[:-1] else process.name()
