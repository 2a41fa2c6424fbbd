"""What every worker process does alike: load its engine, sign in, work until told to stop.

SIGTERM and SIGINT drain: no new work is taken, what is at hand is finished or handed on, and the
process exits with 0, also while the broker is away.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import uvloop
from redis.asyncio import Redis

from shared import log_levels, logs, traces
from shared.broker import Pipe, connect, persist, published
from shared.footprint import Meter
from shared.garbage import settle
from shared.heartbeat import Heartbeat, Offers, WorkerInfo, sign_off
from shared.ids import new_id
from shared.jobs import JobConsumer, JobStage
from shared.keys import Keyspace, Shard
from shared.messages import Hint, decode
from shared.metrics.serving import serving
from shared.metrics.work import show
from shared.profiles import Stage
from shared.registry import CannotStart
from shared.settings import INVALID, Settings, explained, settings
from shared.slots import Slots

# A stage is given a little longer than its jobs have; `parley up` kills after 20 s.
_DRAIN_S = 13
_SIGN_OFF_S = 1
_EXIT_S = 15
# Hints that are followed at a time; more are let go.
_MOST_HINTS = 64

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What the stages' engines have in common."""

    @property
    def model(self) -> str:
        """The model's name, for people."""
        ...

    def load(self) -> None:
        """Loads and warms up; blocks."""
        ...

    def close(self) -> None:
        """Frees what `load` took."""
        ...


E = TypeVar("E", bound=Engine)


class Running(Protocol):
    """A stage at work: `run` returns some time after `stop`."""

    @property
    def load(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def queue_delay_ms(self) -> int: ...
    @property
    def busy(self) -> float: ...
    async def run(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a worker gives its stage to work with."""

    worker_id: str
    settings: Settings
    keyspace: Keyspace
    pipe: Pipe

    def reader(self) -> Redis:
        """A connection of its own for reads that wait."""
        return connect(self.settings.redis_url)


def _no_limit(_: Engine) -> Offers:
    return Offers()


def run_worker(
    stage: Stage,
    create: Callable[[Settings], E],
    start: Callable[[E, Context], Running],
    offers: Callable[[E], Offers] = _no_limit,
) -> None:
    """Runs one worker of `stage` until SIGTERM or SIGINT: the body of `python -m workers.stt`.

    `create` makes the engine that the settings name, `start` the stage around it; `offers` tells
    what the engine, once it is loaded, can do.
    """
    # Read when OpenMP is loaded. Threads that wait for each other actively take the cores of the
    # other stages, and of each other: beside one busy core, recognition with two threads took
    # 174 ms instead of 116, and llama.cpp fell from 35 tokens a second to 1.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        config = settings()
    except INVALID as error:
        sys.exit(f"{stage}: {explained(error)}")
    logs.set_up(stage, config.log_level, config.log_format)
    try:
        with serving(config):
            uvloop.run(_work(stage, config, create, start, offers))
    except* CannotStart as problems:
        for problem in problems.exceptions:
            log.error("%s", problem)
        raise SystemExit(1) from None
    except* KeyboardInterrupt:
        pass


async def _work(
    stage: Stage,
    config: Settings,
    create: Callable[[Settings], E],
    start: Callable[[E, Context], Running],
    offers: Callable[[E], Offers],
) -> None:
    stop = _stop_signal()
    worker_id = new_id(stage)
    async with Pipe(connect(config.redis_url), patient=True) as pipe:
        context = Context(worker_id, config, Keyspace(config.shards, config.lanes), pipe)
        engine = create(config)
        meter = Meter(on_gpu=config.on_gpu)
        running: Running | None = None

        def describe() -> WorkerInfo:
            info = WorkerInfo(
                worker_id=worker_id,
                stage=stage,
                ready=running is not None and not stop.is_set(),
                model=engine.model,
                load=running.load if running else 0,
                slots=running.slots if running else 0,
                queue_delay_ms=running.queue_delay_ms if running else 0,
                busy=running.busy if running else 0.0,
                offers=offers(engine) if running else Offers(),
                footprint=meter.read(),
            )
            show(info, config.engine(stage))
            return info

        async with asyncio.TaskGroup() as tasks:
            beat = Heartbeat(pipe, describe, tasks)
            levels = tasks.create_task(log_levels.follow(pipe, stage), name="log level")
            try:
                await asyncio.to_thread(engine.load)
                settle()
                running = start(engine, context)
                beat.now()
                log.info("ready: %s", engine.model)
                async with traces.exporting(stage, config, engine.model):
                    await _until(stop, running, beat)
            finally:
                await asyncio.to_thread(engine.close)
            beat.end()
            levels.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SIGN_OFF_S):
                await sign_off(pipe, worker_id)


async def _until(stop: asyncio.Event, running: Running, beat: Heartbeat) -> None:
    work = asyncio.create_task(running.run(), name="stage")
    told = asyncio.create_task(stop.wait(), name="stop signal")
    try:
        await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            log.info("draining")
            beat.now()
            await _drain(running, work)
        elif not work.cancelled():
            work.result()
    finally:
        told.cancel()
        work.cancel()
        await asyncio.wait({told, work})


async def _drain(running: Running, work: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(_DRAIN_S):
            await running.stop()
            await asyncio.shield(work)
    except TimeoutError:
        log.warning("the broker is away: what is at hand is left for others to claim")


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        stop.set()
        # What an engine is in the middle of cannot be interrupted. The job has been handed on by
        # then; waiting for the engine would end in a kill.
        loop.call_later(_EXIT_S, os._exit, 0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    return stop


class Foresight(Protocol):
    """What does ahead of its jobs what a stage is told that it will probably be asked."""

    async def hint(self, hint: Hint) -> None:
        """Follows a hint; nobody waits for what comes of it."""
        ...

    async def close(self) -> None:
        """Gives up what nobody has asked for."""
        ...


class JobWorker:
    """A stage fed with jobs: one consumer for each shard, and the channels of each.

    A stage whose jobs take turns in its slots is given `jobs_a_slot` for each of them.
    """

    def __init__(
        self,
        stage: JobStage,
        context: Context,
        foresight: Foresight | None = None,
        jobs_a_slot: int = 1,
    ) -> None:
        self._stage = stage
        self._context = context
        self._foresight = foresight
        self._readers = [context.reader() for _ in context.keyspace.all_shards()]
        slots = Slots(stage.slots * jobs_a_slot)
        self._consumers = [
            JobConsumer(
                stage,
                shard,
                context.keyspace,
                pipe=context.pipe,
                reader=reader,
                consumer=context.worker_id,
                slots=slots,
            )
            for shard, reader in zip(context.keyspace.all_shards(), self._readers, strict=True)
        ]

    @property
    def load(self) -> int:
        return sum(consumer.load for consumer in self._consumers)

    @property
    def slots(self) -> int:
        return self._stage.slots

    @property
    def queue_delay_ms(self) -> int:
        return max(consumer.queueing.delay_ms for consumer in self._consumers)

    @property
    def busy(self) -> float:
        return round(sum(consumer.queueing.busy for consumer in self._consumers), 2)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(self._listen(), name="channels")
            await asyncio.gather(*(consumer.run() for consumer in self._consumers))
            listener.cancel()
            if self._foresight is not None:
                await self._foresight.close()
        for reader in self._readers:
            await reader.aclose()

    async def stop(self) -> None:
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))

    async def _listen(self) -> None:
        """Makes cancelling fast, which the scripts make certain, and lets work begin early."""
        shards = self._context.keyspace.all_shards()
        control = {shard.control: shard for shard in shards if self._stage.cancellable}
        hints = [shard.hints(self._stage.name) for shard in shards if self._foresight]
        if control or hints:
            async with self._context.reader() as reader:
                await persist(lambda: self._obey(reader, control, hints))

    async def _obey(
        self, reader: Redis, control: Mapping[str, Shard], hints: Sequence[str]
    ) -> None:
        ahead: set[asyncio.Task[None]] = set()
        try:
            async with contextlib.aclosing(published(reader, [*control, *hints])) as messages:
                async for message in messages:
                    if message["type"] != "message":
                        continue
                    shard = control.get(message["channel"].decode())
                    if shard is not None:
                        self._cancel(shard, message["data"])
                    elif len(ahead) < _MOST_HINTS:
                        task = asyncio.create_task(self._hear(message["data"]), name="hint")
                        ahead.add(task)
                        task.add_done_callback(ahead.discard)
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    def _cancel(self, shard: Shard, data: bytes) -> None:
        session_id, _, epoch = data.decode().partition(" ")
        for consumer in self._consumers:
            if consumer.shard == shard:
                consumer.cancel(session_id, int(epoch))

    async def _hear(self, data: bytes) -> None:
        """Follows a hint. If it comes to nothing, its job does the work again, and fails if it
        must."""
        assert self._foresight is not None
        try:
            await self._foresight.hint(decode(data, Hint))
        except Exception as error:
            log.warning("a hint came to nothing: %s: %s", type(error).__name__, error)
