"""The job consumer: takes a stage's jobs from the broker, one slot each.

The broker's pending list says who owns a job. While a job runs its lease is renewed; when its
worker dies the lease runs out and another worker claims it. A job that raises is handed on at
once, and after `ATTEMPTS` it is dead-lettered with its error and its client is told.

A job may also kill the process it runs in, and with it the jobs beside it. Its last attempt is
therefore made alone, by a worker that has nothing else to do: it takes down nobody with it, and
whoever survives that is innocent.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Sequence
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.broker import BLOCK_MS, Pipe, answer, persist, stream_entries
from shared.ids import now_ms
from shared.job import Job, Withdrawn
from shared.keys import Keyspace, Shard
from shared.leases import LEASE_MS, ROUND_S, Standstill
from shared.logs import concerning
from shared.messages import JobMessage, MessageError, OutMessage, decode
from shared.metrics.work import MeasuredJobs, Outcome
from shared.queueing import Queueing
from shared.scripts import jobs as scripts
from shared.scripts.jobs import Delivery, Ownership
from shared.slots import Slots

ATTEMPTS = 3
_ORPHANS = 100
_REAP_EVERY = 100  # rounds
_REAP_MS = 60_000
_HAND_ON_S = 1
_WAKE_S = 1

log = logging.getLogger(__name__)


class JobStage(Protocol):
    """What a stage must offer to be fed with jobs."""

    @property
    def name(self) -> str: ...
    @property
    def job_type(self) -> type[JobMessage]: ...
    @property
    def slots(self) -> int: ...
    @property
    def cancellable(self) -> bool:
        """Whether an interruption ends the stage's jobs (a transcription outlives it)."""
        ...

    async def handle(self, job: Job) -> None:
        """Does the job and finishes it; raises what went wrong. Says when its engine starts."""
        ...

    def failure(self, message: JobMessage, problem: str) -> OutMessage:
        """What the client is told when the job failed for good."""
        ...


class JobConsumer:
    """Feeds one stage from one shard's stream.

    `run` returns after `stop`: no new job is taken, and running ones are finished within
    `drain_s` or handed on to another worker. `slots` are the worker's, whichever shards feed it.
    """

    def __init__(
        self,
        stage: JobStage,
        shard: Shard,
        keyspace: Keyspace,
        *,
        pipe: Pipe,
        reader: Redis,
        consumer: str,
        slots: Slots,
        drain_s: float = 10.0,
    ) -> None:
        self.stage = stage
        self.shard = shard
        self.queueing = Queueing(at_once=stage.slots)
        self._keyspace = keyspace
        self._pipe = pipe
        self._reader = reader
        self._consumer = consumer
        self._slots = slots
        self._drain_s = drain_s
        self._stream = shard.jobs(stage.name)
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        self._standstill = Standstill()
        self._measured = MeasuredJobs(stage.name)
        self._orphaned = False
        self._reader_id = 0
        self._stopping = False
        self._reading: asyncio.Task[None] | None = None

    @property
    def load(self) -> int:
        return len(self._running)

    async def run(self) -> None:
        """Takes jobs until stopped."""
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(self._keep(tasks), name="leases")
            reading = persist(lambda: self._read(tasks))
            self._reading = tasks.create_task(reading, name="jobs")
            await asyncio.wait({self._reading})
            await self._drain()
            keeper.cancel()

    async def stop(self) -> None:
        """Ends `run`; a read that waits is woken, so that no job is delivered to nobody."""
        self._stopping = True
        self._slots.wake()
        if self._reading is None:
            return
        with contextlib.suppress(TimeoutError):  # the broker is away, and delivers nothing
            async with asyncio.timeout(_WAKE_S):
                while not self._reading.done():
                    await self._pipe.command("CLIENT", "UNBLOCK", self._reader_id)
                    await asyncio.wait({self._reading}, timeout=ROUND_S)
        self._reading.cancel()

    def cancel(self, session_id: str, epoch: int) -> None:
        """Ends the session's jobs that are older than `epoch`."""
        for entry, (job, _) in self._running.items():
            if job.session.session_id == session_id and int(job.owner.epoch) < epoch:
                self._withdraw(entry)

    # --- taking jobs ---

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        self._reader_id = await answer(self._reader.client_id())
        while not self._stopping:
            if self._orphaned or not self._slots.free:
                await self._slots.changed()
                continue
            for delivery in await self._fetch(self._slots.free):
                self._start(delivery, tasks)

    async def _fetch(self, count: int) -> list[Delivery]:
        try:
            reply = await answer(
                self._reader.xreadgroup(
                    self.stage.name, self._consumer, {self._stream: ">"}, count, BLOCK_MS
                )
            )
        except ResponseError as error:
            await self._mend(error)
            return []
        return [
            Delivery(entry, 1, fields)
            for _, entries in stream_entries(reply)
            for entry, fields in entries
        ]

    async def _keep(self, tasks: asyncio.TaskGroup) -> None:
        """Renews the leases of what runs and takes over what others left, round after round."""
        for number in itertools.count(1):
            await asyncio.gather(self._renew(), self._look())
            try:
                await self._take_over(tasks)
                if number % _REAP_EVERY == 0:
                    await scripts.reap(self._pipe, self.shard, self.stage.name, _REAP_MS)
            except ResponseError as error:
                await self._mend(error)
            await self._rest()

    async def _look(self) -> None:
        now_ms, entry = await scripts.waiting(self._pipe, self.shard, self.stage.name)
        self.queueing.tell(now_ms)
        self.queueing.unread(entry)

    async def _take_over(self, tasks: asyncio.TaskGroup) -> None:
        """Takes over orphans, before any new job is fetched."""
        orphans = await scripts.orphans(self._pipe, self.shard, self.stage.name, LEASE_MS, _ORPHANS)
        if self._stopping or not self._standstill.over():
            return
        last = [orphan.entry for orphan in orphans if orphan.attempt == ATTEMPTS]
        others = [orphan.entry for orphan in orphans if orphan.attempt != ATTEMPTS]
        wanted = others[: self._slots.free]
        if wanted:
            await self._claim(wanted, tasks)
        elif last and self._slots.empty:
            wanted = last[:1]
            await self._claim_alone(last[0], tasks)
        self._slots.clear(self, len(last) > 0)
        before, self._orphaned = self._orphaned, len(orphans) > len(wanted)
        if before and not self._orphaned:
            self._slots.wake()

    async def _claim(self, entries: Sequence[str], tasks: asyncio.TaskGroup) -> None:
        owner = (self.shard, self.stage.name, self._consumer)
        for delivery in await scripts.claim(self._pipe, *owner, LEASE_MS, entries):
            self._measured.takeovers.inc()
            job = self._start(delivery, tasks)
            with concerning(**job.ids):
                log.info("took over job %s, attempt %d", delivery.entry, delivery.attempt)

    async def _claim_alone(self, entry: str, tasks: asyncio.TaskGroup) -> None:
        self._slots.close(entry)
        try:
            await self._claim([entry], tasks)
        finally:
            if entry not in self._running:
                self._slots.open()

    async def _rest(self) -> None:
        """Waits for the next round, or for a slot if somebody's job waits for one."""
        if self._orphaned:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._slots.changed()
        else:
            await asyncio.sleep(ROUND_S)

    async def _mend(self, error: ResponseError) -> None:
        """A broker that is new or lost its data has no group; any other error is raised."""
        if not any(code in str(error) for code in ("NOGROUP", "UNBLOCKED")):
            raise error
        log.debug("making the group of stream %s", self._stream)
        try:
            await self._pipe.command(
                "XGROUP", "CREATE", self._stream, self.stage.name, "0", "MKSTREAM"
            )
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    # --- keeping and ending them ---

    async def _renew(self) -> None:
        if self._running:
            for entry in await self._set_idle(list(self._running), 0):
                self._withdraw(entry)

    def _withdraw(self, entry: str) -> None:
        """Ends a job that is not this worker's any more, if it still runs."""
        if entry in self._running:
            job, task = self._running[entry]
            job.withdrawn = True
            task.cancel()

    async def _drain(self) -> None:
        if not self._running:
            return
        for job, task in self._running.values():
            if not job.began_ms:
                task.cancel()
        tasks = [task for _, task in self._running.values()]
        _, unfinished = await asyncio.wait(tasks, timeout=self._drain_s)
        for task in unfinished:
            task.cancel()

    def _start(self, delivery: Delivery, tasks: asyncio.TaskGroup) -> Job:
        job = self._job(delivery)
        self._withdraw(delivery.entry)  # held up beyond its lease, a worker may claim its own job
        task = tasks.create_task(self._run(job), name=f"{self.stage.name} job")
        self._running[delivery.entry] = (job, task)
        self._slots.take()
        self.queueing.takes(delivery.entry, counts=delivery.attempt == 1)
        task.add_done_callback(lambda _: self._ended(job))
        return job

    def _ended(self, job: Job) -> None:
        running = self._running.get(job.owner.entry)
        if running is not None and running[0] is job:
            del self._running[job.owner.entry]
            self.queueing.gone(job.owner.entry)
            if self._slots.alone == job.owner.entry:
                self._slots.open()
        self._slots.release()

    def _job(self, delivery: Delivery) -> Job:
        epoch = delivery.fields.get(b"epoch", b"0").decode()
        owner = Ownership(
            self.shard, self.stage.name, self._consumer, delivery.entry, delivery.attempt, epoch
        )
        payload = delivery.fields.get(b"m", b"")
        try:
            message = decode(payload, self.stage.job_type)
            session = self._keyspace.session(message.session_id)
        except MessageError as error:
            unknown = self.shard.session("unknown")
            return Job(self._pipe, self.queueing, owner, unknown, error, payload, ATTEMPTS)
        return Job(self._pipe, self.queueing, owner, session, message, payload, delivery.attempt)

    async def _run(self, job: Job) -> None:
        with concerning(**job.ids):
            await self._attempt(job)

    async def _attempt(self, job: Job) -> None:
        try:
            if isinstance(job.message, MessageError):
                raise job.message
            if job.attempt > ATTEMPTS:
                raise RuntimeError(f"the worker died on each of {ATTEMPTS} attempts")
            async with self._slots.begun(job.owner.entry):
                job.began_ms = now_ms()
                with self._measured.work(job.owner.entry, job.attempt):
                    await self.stage.handle(job)
            self._over(job, "finished")
        except Withdrawn:
            self._over(job, "cancelled")
            await job.finish()  # acknowledges what was cancelled; what is another's stays his
        except asyncio.CancelledError:
            self._over(job, "cancelled" if job.withdrawn else "handed_on")
            if not job.withdrawn:
                with contextlib.suppress(TimeoutError):  # its lease runs out by itself
                    async with asyncio.timeout(_HAND_ON_S):
                        await self._set_idle([job.owner.entry], LEASE_MS, counts=False)
                raise
            await job.finish()
        except Exception as error:
            self._over(job, "failed", type(error).__name__)
            await self._failed(job, error)

    def _over(self, job: Job, outcome: Outcome, error: str = "") -> None:
        self._measured.ended(outcome)
        job.trace(outcome, error)

    async def _failed(self, job: Job, error: Exception) -> None:
        """Hands a job that raised to whoever claims next or, after its last attempt, buries it."""
        log.exception("job %s failed on attempt %d", job.owner.entry, job.attempt, exc_info=error)
        if job.attempt < ATTEMPTS:
            await self._set_idle([job.owner.entry], LEASE_MS)
            return
        problem = f"{type(error).__name__}: {error}"
        told: list[OutMessage] = []
        if not isinstance(job.message, MessageError):
            told = [self.stage.failure(job.message, problem)]
        status = await scripts.bury(self._pipe, job.owner, job.session, job.payload, problem, told)
        if status != "lost":
            self._measured.dead_letters.inc()

    async def _set_idle(
        self, entries: Sequence[str], idle_ms: int, *, counts: bool = True
    ) -> list[str]:
        owner = (self.shard, self.stage.name, self._consumer)
        return await scripts.set_idle(self._pipe, *owner, idle_ms, entries, counts=counts)
