"""Makes the faults of a schedule happen to a running system."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping

from redis.asyncio import Redis

from bench.chaos.faults import Fault
from bench.chaos.proxy import Link
from bench.chaos.recovery import Struck
from bench.chaos.system import System

_BROKER_SETTLES_S = 2.0
_LATENCY_S = (0.05, 0.3)
_SLOW_BYTES_PER_S = (2_000, 40_000)  # an answer is 64,000 bytes of base64 a second


class Injector:
    """Strikes processes, the broker and the links of the clients that there are.

    `struck` is what happened so far; a fault that finds no victim (all of its kind have only
    just been started) does not happen.
    """

    def __init__(self, system: System, links: Mapping[int, Link]) -> None:
        self.struck: list[Struck] = []
        self._system = system
        self._links = links
        self._stop = asyncio.Event()

    async def run(self, schedule: Iterator[Fault]) -> None:
        """Follows the schedule until `stop`, and ends what it began: nobody stays stopped."""
        started_s = time.monotonic()
        async with asyncio.TaskGroup() as strikes:
            for fault in schedule:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(_loop_time(started_s + fault.at_s)):
                        await self._stop.wait()
                if self._stop.is_set():
                    return
                strikes.create_task(self._strike(fault), name=str(fault.kind))

    def stop(self) -> None:
        """Ends `run` as soon as what is going on is over."""
        self._stop.set()

    async def _strike(self, fault: Fault) -> None:
        at_s = time.monotonic()
        target = fault.kind.target
        if target == "broker":
            victim, index = "broker", 0
            await self._strike_broker(fault)
        elif target == "client":
            sessions = sorted(self._links)
            if not sessions:
                return
            index = sessions[int(fault.choice * len(sessions))]
            victim = f"client {index}"
            await self._strike_client(fault, self._links[index])
        else:
            processes = self._system.of(target)
            candidates = [number for number, each in enumerate(processes) if each.grown_up]
            if not candidates:
                return
            index = candidates[int(fault.choice * len(candidates))]
            victim = processes[index].name
            await self._strike_process(fault, index)
        until_s = time.monotonic()
        await self._settle(fault, index)
        self.struck.append(Struck(fault.kind, at_s, until_s, time.monotonic(), victim, index))

    async def _settle(self, fault: Fault, index: int) -> None:
        """Waits until the system is whole again, or should be."""
        if fault.kind.target == "broker":
            await asyncio.sleep(_BROKER_SETTLES_S)
        elif fault.kind.target != "client":
            await self._system.of(fault.kind.target)[index].grows_up()

    async def _strike_process(self, fault: Fault, index: int) -> None:
        process = self._system.of(fault.kind.target)[index]
        if fault.kind.action == "kill":
            process.signal(signal.SIGKILL)
        elif fault.kind.action == "term":
            process.signal(signal.SIGTERM)
            await process.drained()
        else:
            process.signal(signal.SIGSTOP)
            await asyncio.sleep(fault.lasts_s)
            process.signal(signal.SIGCONT)

    async def _strike_broker(self, fault: Fault) -> None:
        broker = self._system.broker
        if fault.kind.action == "pause":
            async with Redis.from_url(broker.url) as client:
                await client.client_pause(int(fault.lasts_s * 1000))
            await asyncio.sleep(fault.lasts_s)
        elif fault.kind.action == "stop":
            os.kill(broker.pid, signal.SIGSTOP)
            await asyncio.sleep(fault.lasts_s)
            os.kill(broker.pid, signal.SIGCONT)
        else:
            if fault.kind.action == "kill":
                os.kill(broker.pid, signal.SIGKILL)
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)

    async def _strike_client(self, fault: Fault, link: Link) -> None:
        share = fault.choice * len(self._links) % 1.0  # what choosing the client left of it
        if fault.kind.action == "cut":
            link.cut(reset=share < 0.5, offline_s=fault.lasts_s)
        elif fault.kind.action == "stall":
            link.stall(fault.lasts_s)
        elif fault.kind.action == "delay":
            link.delay(_between(_LATENCY_S, share), fault.lasts_s)
        else:
            link.slow(_between(_SLOW_BYTES_PER_S, share), fault.lasts_s)
        await asyncio.sleep(fault.lasts_s)


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + share * (bounds[1] - bounds[0])


def _loop_time(monotonic_s: float) -> float:
    return asyncio.get_running_loop().time() + monotonic_s - time.monotonic()
