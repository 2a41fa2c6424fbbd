"""The memory and the files of every process, and of the broker, over time."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

from bench.chaos.broker_view import BrokerView
from bench.chaos.system import System

_WARM_UP = 0.2  # of the samples: caches fill, pools grow
_LEAST_S = 300.0  # a slope of less says nothing


@dataclass(slots=True)
class Series:
    """One process from its start on: times in s, resident memory in bytes, open files.

    Of the broker it is `used_memory` and its keys.
    """

    name: str
    times_s: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    things: list[int] = field(default_factory=list)

    def add(self, memory: int, things: int) -> None:
        self.times_s.append(time.monotonic())
        self.memory.append(memory)
        self.things.append(things)


@dataclass(frozen=True, slots=True)
class Trend:
    """What a series comes to: its slope per hour is by least squares, after warming up."""

    name: str
    hours: float
    first_mb: float
    last_mb: float
    mb_per_hour: float
    first_things: int
    last_things: int


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """How much a value grows in one unit of time, by least squares."""
    return float(np.polynomial.Polynomial.fit(times, values, 1).convert().coef[1])


def trend(series: Series) -> Trend | None:
    """None of a process that was not watched long enough to have one."""
    start = int(len(series.times_s) * _WARM_UP)
    times_s, memory = series.times_s[start:], series.memory[start:]
    if not times_s or times_s[-1] - times_s[0] < _LEAST_S:
        return None
    hours = [at_s / 3600 for at_s in times_s]
    per_hour = slope(hours, [each / 1e6 for each in memory])
    things = series.things[start:]
    return Trend(
        series.name,
        hours[-1] - hours[0],
        memory[0] / 1e6,
        memory[-1] / 1e6,
        per_hour,
        things[0],
        things[-1],
    )


class Sampler:
    """Watches a system. A process that is started again is a series of its own."""

    def __init__(self, system: System, view: BrokerView, every_s: float) -> None:
        self._system = system
        self._view = view
        self._every_s = every_s
        self._series: dict[tuple[str, int], Series] = {}

    @property
    def trends(self) -> list[Trend]:
        """Of all processes that were watched long enough, in order of name."""
        found = [trend(series) for series in self._series.values()]
        return sorted((each for each in found if each), key=lambda each: each.name)

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            for process in self._system.processes:
                if process.pid:
                    self._sample(process.name, process.pid)
            memory, keys = await asyncio.gather(self._view.memory_bytes(), self._view.key_count())
            self._of("broker: memory, keys", 0).add(memory, keys)

    def _sample(self, name: str, pid: int) -> None:
        try:
            process = psutil.Process(pid)
            memory, files = process.memory_info().rss, process.num_fds()
        except psutil.NoSuchProcess:
            return  # it ended this moment
        if memory:  # of one that has ended and is not yet waited for there is none
            self._of(name, pid).add(memory, files)

    def _of(self, name: str, pid: int) -> Series:
        return self._series.setdefault((name, pid), Series(name))
