"""What is measured, in one process: the numbers, their names, and where they are served."""

import asyncio
import re
import socket
import urllib.error
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shared.broker import Pipe
from shared.footprint import Footprint, Gpu
from shared.heartbeat import WorkerInfo
from shared.job import Job
from shared.messages import MARKS, JobMessage, LlmJob, OutMessage, ResponseFailed
from shared.metrics import SECONDS
from shared.metrics.__main__ import tables
from shared.metrics.gateway import observe_turn
from shared.metrics.serving import serving
from shared.metrics.work import Measured, show
from shared.registry import CannotStart
from shared.settings import Settings
from shared.waterfall import PARTS
from shared.worker import JobWorker
from tests.stages import ask, context, done, open_session, until, working
from tests.support.scraping import scrape, value
from tests.support.up import free_port

DOCS = Path(__file__).parents[2] / "docs"
LABELS = {
    *("direction", "engine", "gpu", "kind", "model", "outcome", "part", "python", "reason"),
    *("stage", "status", "version"),
}


def now(name: str, **labels: str) -> float:
    """What this process measured so far."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@dataclass
class Stage:
    """A stage whose work is whatever the test says."""

    work: Callable[[Job], Awaitable[None]]
    slots: int = 1
    name: str = "llm"
    job_type: type[JobMessage] = LlmJob
    cancellable: bool = True

    async def handle(self, job: Job) -> None:
        await self.work(job)

    def failure(self, message: JobMessage, problem: str) -> OutMessage:
        assert isinstance(message, LlmJob)
        return ResponseFailed(response_id=message.response_id, message=problem)


# --- names ---


def test_names_are_as_prometheus_would_have_them() -> None:
    families = text_string_to_metric_families(generate_latest().decode())
    ours = [family for family in families if family.name.startswith("parley_")]
    assert len(ours) > 20
    for family in ours:
        assert re.fullmatch(r"parley_[a-z]+(_[a-z]+)*", family.name)
        assert not re.search(r"_(ms|milliseconds|minutes|percent|count|sum)$", family.name)
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_size", "_commands"))
        for sample in family.samples:
            assert sample.labels.keys() <= {*LABELS, "le"}
            assert family.type != "counter" or sample.name.endswith("_total")


def test_buckets_tell_a_voice_apart_from_a_pause() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))
    assert SECONDS[0] <= 0.01
    assert SECONDS[-1] == 10
    heard = [bound for bound in SECONDS if 0.1 <= bound <= 3]
    assert all(after <= 1.5 * before for before, after in pairwise(heard))


def test_the_documentation_lists_every_metric() -> None:
    assert tables() in (DOCS / "metrics.md").read_text(), "python -m shared.metrics prints them"


# --- numbers ---


def test_the_parts_of_a_turn_add_up_to_the_whole() -> None:
    def measured() -> list[float]:
        parts = [now("parley_turn_part_seconds_sum", part=part) for part in PARTS.values()]
        return [now("parley_voice_to_voice_seconds_sum"), *parts]

    before = measured()
    observe_turn({mark: 1_000 + 100 * place for place, mark in enumerate(MARKS)})
    whole, *parts = [after - then for after, then in zip(measured(), before, strict=True)]
    assert whole == pytest.approx(0.9)
    assert parts == pytest.approx([0.1] * len(PARTS))


def test_an_answer_to_something_typed_is_no_turn() -> None:
    before = now("parley_voice_to_voice_seconds_count")
    observe_turn({"llm_start": 1, "llm_first_token": 20, "audio_out": 500})
    assert now("parley_voice_to_voice_seconds_count") == before


def test_waiting_is_counted_once_and_work_if_it_was_done() -> None:
    measured = Measured("test")
    with measured.work("0-1"):  # since 1970
        pass
    with measured.work("99999999999999-1"):  # by a clock that is ahead
        pass
    with measured.work("0-1", attempt=2):
        pass
    with pytest.raises(ZeroDivisionError), measured.work("0-1"):
        raise ZeroDivisionError
    assert now("parley_queue_wait_seconds_count", stage="test") == 3
    assert now("parley_queue_wait_seconds_bucket", stage="test", le="0.001") == 1
    assert now("parley_service_seconds_count", stage="test") == 3


async def test_every_attempt_at_a_job_has_its_outcome(pipe: Pipe, redis_url: str) -> None:
    def counted() -> dict[str, float]:
        attempts = {
            outcome: now("parley_jobs_total", stage="llm", outcome=outcome)
            for outcome in ("finished", "failed", "cancelled", "handed_on")
        }
        others = ("parley_takeovers_total", "parley_dead_letters_total")
        return attempts | {name: now(name, stage="llm") for name in others}

    async def succeed(job: Job) -> None:
        await job.finish()

    async def fail(job: Job) -> None:
        raise ValueError("the engine cannot do this")

    before = counted()
    for work in (succeed, fail):
        await ask(pipe, await open_session(pipe), "Hello?")
        async with working(JobWorker(Stage(work), context(pipe, redis_url))):
            await until(lambda: done(pipe, "llm"))
    assert {name: number - before[name] for name, number in counted().items()} == {
        "finished": 1,
        "failed": 3,
        "cancelled": 0,
        "handed_on": 0,
        "parley_takeovers_total": 2,
        "parley_dead_letters_total": 1,
    }


async def test_a_job_is_cancelled_or_handed_on(pipe: Pipe, redis_url: str) -> None:
    def ended(outcome: str) -> float:
        return now("parley_jobs_total", stage="llm", outcome=outcome)

    begun = asyncio.Event()

    async def never(job: Job) -> None:
        begun.set()
        await asyncio.Event().wait()

    before = ended("cancelled"), ended("handed_on")
    session = await open_session(pipe)
    await ask(pipe, session, "Hello?")
    worker = JobWorker(Stage(never), context(pipe, redis_url))
    async with working(worker):
        await begun.wait()
        for consumer in worker._consumers:
            consumer.cancel(session.session_id, 1)
        await until(lambda: ended("cancelled") == before[0] + 1)
    assert ended("handed_on") == before[1]


def test_a_worker_shows_its_gpu() -> None:
    footprint = Footprint(gpu=Gpu("NVIDIA L4", 6 * 10**9, 24 * 10**9))
    info = WorkerInfo(
        worker_id="w", stage="test", ready=True, model="m", slots=4, footprint=footprint
    )
    show(info, "engine")
    assert now("parley_worker_info", stage="test", engine="engine", model="m") == 1
    assert now("parley_worker_slots", stage="test") == 4
    assert now("parley_gpu_memory_used_bytes", gpu="NVIDIA L4") == 6 * 10**9
    assert now("parley_gpu_memory_total_bytes", gpu="NVIDIA L4") == 24 * 10**9


async def test_what_goes_to_the_broker_is_measured(pipe: Pipe) -> None:
    def measured() -> tuple[float, ...]:
        names = ("pipeline_commands_sum", "pipeline_commands_count", "round_trip_seconds_count")
        return tuple(now(f"parley_broker_{name}") for name in names)

    before = measured()
    await asyncio.gather(*(pipe.command("PING") for _ in range(5)))
    assert [after - then for after, then in zip(measured(), before, strict=True)] == [5, 1, 1]


# --- where they are ---


def test_they_are_served_while_the_process_works() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    with serving(Settings(metrics_port=port)):
        assert value(scrape(url), "parley_build_info") == 1
    with pytest.raises(urllib.error.URLError):
        scrape(url)


def test_they_are_served_only_if_it_is_said_where() -> None:
    with serving(Settings()):
        pass


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(CannotStart, match=rf"PARLEY_METRICS_PORT: .* {port} of 127\.0\.0\.1"),
            serving(Settings(metrics_port=port)),
        ):
            pass
