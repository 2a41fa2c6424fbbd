"""What every worker process does alike: load its engine, sign in, work until told to stop.

SIGTERM and SIGINT drain: no new work is taken, what is at hand is finished or handed on, and the
process exits with 0, also while the broker is away.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import uvloop
from redis.asyncio import Redis

from shared import logs
from shared.broker import Pipe, connect, persist, published
from shared.heartbeat import Heartbeat, Offers, WorkerInfo, sign_off
from shared.ids import new_id
from shared.jobs import JobConsumer, JobStage
from shared.keys import Keyspace, Shard
from shared.profiles import Stage
from shared.registry import CannotStart
from shared.settings import Settings, settings
from shared.slots import Slots

# A stage is given a little longer than its jobs have; `parley up` kills after 20 s.
_DRAIN_S = 13
_SIGN_OFF_S = 1
_EXIT_S = 15

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
    config = settings()
    logs.set_up(stage, config.log_level, config.log_format)
    try:
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
        running: Running | None = None

        def describe() -> WorkerInfo:
            return WorkerInfo(
                worker_id=worker_id,
                stage=stage,
                ready=running is not None and not stop.is_set(),
                model=engine.model,
                load=running.load if running else 0,
                slots=running.slots if running else 0,
                offers=offers(engine) if running else Offers(),
            )

        async with asyncio.TaskGroup() as tasks:
            beat = Heartbeat(pipe, describe, tasks)
            try:
                await asyncio.to_thread(engine.load)
                running = start(engine, context)
                beat.now()
                log.info("ready: %s", engine.model)
                await _until(stop, running, beat)
            finally:
                await asyncio.to_thread(engine.close)
            beat.end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sign_off(pipe, worker_id), _SIGN_OFF_S)


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


class JobWorker:
    """A stage fed with jobs: one consumer for each shard, and the control channel."""

    def __init__(self, stage: JobStage, context: Context) -> None:
        self._stage = stage
        self._context = context
        self._readers = [context.reader() for _ in context.keyspace.all_shards()]
        slots = Slots(stage.slots)
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

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(self._listen(), name="control channel")
            await asyncio.gather(*(consumer.run() for consumer in self._consumers))
            listener.cancel()
        for reader in self._readers:
            await reader.aclose()

    async def stop(self) -> None:
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))

    async def _listen(self) -> None:
        """Makes cancelling fast; that it is certain is the scripts' work."""
        if self._stage.cancellable:
            async with self._context.reader() as reader:
                await persist(lambda: self._obey(reader))

    async def _obey(self, reader: Redis) -> None:
        channels = {shard.control: shard for shard in self._context.keyspace.all_shards()}
        async with contextlib.aclosing(published(reader, channels)) as messages:
            async for message in messages:
                if message["type"] != "message":
                    continue
                session_id, _, epoch = message["data"].decode().partition(" ")
                shard: Shard = channels[message["channel"].decode()]
                for consumer in self._consumers:
                    if consumer.shard == shard:
                        consumer.cancel(session_id, int(epoch))
