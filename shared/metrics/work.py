"""Metrics of workers: what waits for a stage, how long its work takes, and what goes wrong."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from shared.heartbeat import WorkerInfo
from shared.metrics import SECONDS, SIZES

Outcome = Literal["finished", "cancelled", "failed", "handed_on"]
_OUTCOMES: tuple[Outcome, ...] = ("finished", "cancelled", "failed", "handed_on")

WORKER = Gauge(
    "parley_worker_info",
    "1; which engine and model the worker works with.",
    ["stage", "engine", "model"],
)
READY = Gauge(
    "parley_worker_ready", "1 if the worker's model is loaded and it takes work, else 0.", ["stage"]
)
LOAD = Gauge(
    "parley_worker_load", "Jobs in the worker's hands; of VAD, sessions listened to.", ["stage"]
)
SLOTS = Gauge(
    "parley_worker_slots",
    "Jobs that the worker does at once; of VAD, which has no bound, 0.",
    ["stage"],
)
QUEUE_WAIT = Histogram(
    "parley_queue_wait_seconds",
    "From when work was given to a stage until its first attempt began; of VAD, the delay with"
    " which audio is heard. Taken from the broker's clock and the worker's.",
    ["stage"],
    buckets=SECONDS,
)
SERVICE = Histogram(
    "parley_service_seconds",
    "How long a stage took for a job, of those that it finished; of VAD, for a batch of audio.",
    ["stage"],
    buckets=SECONDS,
)
BATCH = Histogram(
    "parley_batch_size",
    "What one call of an engine worked on: windows of audio (vad), ends of turns (turn),"
    " utterances (stt); answers written together (llm), segments spoken at the same time (tts).",
    ["engine"],
    buckets=SIZES,
)
JOBS = Counter(
    "parley_jobs_total",
    "Attempts at a stage's jobs by how they ended: finished, cancelled by an interruption or taken"
    " over by another worker, failed with an error, handed on by a worker that stops.",
    ["stage", "outcome"],
)
AHEAD = Counter(
    "parley_ahead_total",
    "Work that was begun before it was asked for, by whether it was asked for then: used, unused.",
    ["stage", "outcome"],
)
TAKEOVERS = Counter(
    "parley_takeovers_total",
    "Work taken over from another worker or after a failed attempt: jobs; of VAD, lanes.",
    ["stage"],
)
DEAD_LETTERS = Counter("parley_dead_letters_total", "Jobs that failed on every attempt.", ["stage"])
TOKENS = Counter(
    "parley_llm_tokens_total",
    "Tokens of answers that were written to their end: prompt (read anew), cached (of the prompt,"
    " known from before), generated.",
    ["kind"],
)
GPU_USED = Gauge(
    "parley_gpu_memory_used_bytes",
    "Memory in use of the GPU that this worker may use, by whichever process.",
    ["gpu"],
)
GPU_TOTAL = Gauge("parley_gpu_memory_total_bytes", "Memory of that GPU.", ["gpu"])


def show(worker: WorkerInfo, engine: str) -> None:
    """Takes over what a worker says of itself."""
    WORKER.labels(worker.stage, engine, worker.model).set(1)
    READY.labels(worker.stage).set(worker.ready)
    LOAD.labels(worker.stage).set(worker.load)
    SLOTS.labels(worker.stage).set(worker.slots)
    if (gpu := worker.footprint.gpu) is not None:
        GPU_USED.labels(gpu.name).set(gpu.used_bytes)
        GPU_TOTAL.labels(gpu.name).set(gpu.total_bytes)


class Measured:
    """The work of one stage, as its metrics have it."""

    def __init__(self, stage: str) -> None:
        self._wait = QUEUE_WAIT.labels(stage)
        self._service = SERVICE.labels(stage)
        self.takeovers = TAKEOVERS.labels(stage)

    @contextmanager
    def work(self, entry: str, attempt: int = 1) -> Iterator[None]:
        """Measures the work on `entry` of a stream; if it raises, only how long it had waited."""
        if attempt == 1:
            self._wait.observe(_waited_s(entry))
        began_s = time.perf_counter()
        yield
        self._service.observe(time.perf_counter() - began_s)


class MeasuredJobs(Measured):
    """The same of a stage that has jobs."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self._outcomes = {outcome: JOBS.labels(stage, outcome) for outcome in _OUTCOMES}
        self.dead_letters = DEAD_LETTERS.labels(stage)

    def ended(self, outcome: Outcome) -> None:
        """Counts an attempt."""
        self._outcomes[outcome].inc()


class MeasuredAhead:
    """What became of the work that a stage began before it was asked for."""

    def __init__(self, stage: str) -> None:
        self.used = AHEAD.labels(stage, "used").inc
        self.unused = AHEAD.labels(stage, "unused").inc


def _waited_s(entry: str) -> float:
    """How long ago an entry was added: its id begins with the broker's time in ms."""
    added_ms = int(entry.partition("-")[0])
    return max(time.time() - added_ms / 1000, 0.0)
