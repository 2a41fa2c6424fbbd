"""Every process is scraped once somebody has talked, and every query is held against that."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from prometheus_client.samples import Sample

from cli.address import check_free
from shared.messages import MARKS
from shared.profiles import STAGES
from shared.waterfall import PARTS
from tests.deploy.monitoring import Query, alerts, panels
from tests.support.scraping import scrape, value
from tests.support.spoken import ask
from tests.support.up import Up, free_port, running

PROCESSES = ("gateway", *STAGES)
JOB_STAGES = ("stt", "llm", "tts")
# What a worker on a GPU has beside: tests/shared/test_metrics.py.
ON_GPU = {"parley_gpu_memory_used_bytes": {"gpu"}, "parley_gpu_memory_total_bytes": {"gpu"}}


def free_ports(number: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = min(free_port(), 65_535 - number)
        try:
            for port in range(first, first + number):
                check_free("127.0.0.1", port)
        except OSError:
            continue
        return first


@pytest.fixture(scope="module")
def talked(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Up, dict[str, list[Sample]]]]:
    """A system in which somebody asked one question, and what each of its processes measured."""
    first = free_ports(len(PROCESSES))
    data = tmp_path_factory.mktemp("data")
    with running(
        data, "instant", PARLEY_SILENCE_MS="300", PARLEY_METRICS_PORT=str(first)
    ) as served:
        turn = asyncio.run(ask(served.url, "question.wav"))
        assert set(MARKS) <= turn.marks.keys()
        at = {name: f"http://127.0.0.1:{first + n}/metrics" for n, name in enumerate(PROCESSES)}
        served.wait_for(lambda: value(scrape(at["gateway"]), "parley_sessions_open") == 0)
        yield served, {name: scrape(url) for name, url in at.items()}


@pytest.fixture
def scraped(talked: tuple[Up, dict[str, list[Sample]]]) -> dict[str, list[Sample]]:
    return talked[1]


def test_every_process_says_what_it_is(scraped: dict[str, list[Sample]]) -> None:
    for samples in scraped.values():
        assert value(samples, "parley_build_info") == 1
        assert value(samples, "process_resident_memory_bytes") > 2**20
        assert value(samples, "parley_broker_round_trip_seconds_count") > 0
        assert value(samples, "parley_broker_retries_total") == 0
    for stage in STAGES:
        assert value(scraped[stage], "parley_worker_ready", stage=stage) == 1
        assert value(scraped[stage], "parley_worker_info", stage=stage) == 1
        others = {s.labels["stage"] for s in scraped[stage] if "stage" in s.labels}
        assert others == {stage}


def test_the_work_of_one_turn_is_counted_once(scraped: dict[str, list[Sample]]) -> None:
    for stage in JOB_STAGES:
        samples = scraped[stage]
        jobs = value(samples, "parley_jobs_total", stage=stage, outcome="finished")
        assert jobs == value(samples, "parley_queue_wait_seconds_count", stage=stage)
        assert jobs == value(samples, "parley_service_seconds_count", stage=stage)
        assert jobs == 1 if stage != "tts" else jobs >= 1
        assert value(samples, "parley_dead_letters_total", stage=stage) == 0
        assert value(samples, "parley_takeovers_total", stage=stage) == 0
    assert value(scraped["stt"], "parley_batch_size_sum", engine="stt") >= 1
    assert value(scraped["vad"], "parley_batch_size_sum", engine="vad") > 100
    assert value(scraped["llm"], "parley_batch_size_sum", engine="llm") == 1
    assert value(scraped["tts"], "parley_batch_size_sum", engine="tts") >= 1
    assert value(scraped["vad"], "parley_queue_wait_seconds_count", stage="vad") > 10
    assert value(scraped["llm"], "parley_llm_tokens_total", kind="generated") > 0


def test_the_gateway_measures_what_people_hear(scraped: dict[str, list[Sample]]) -> None:
    samples = scraped["gateway"]
    assert value(samples, "parley_sessions_opened_total") == 1
    assert value(samples, "parley_voice_to_voice_seconds_count") == 1
    total = value(samples, "parley_voice_to_voice_seconds_sum")
    assert 0.3 <= total < 10
    parts = [value(samples, "parley_turn_part_seconds_sum", part=part) for part in PARTS.values()]
    assert sum(parts) == pytest.approx(total)
    assert value(samples, "parley_audio_seconds_total", direction="in") > 3
    assert value(samples, "parley_audio_seconds_total", direction="out") > 0


def test_nobody_is_named(scraped: dict[str, list[Sample]]) -> None:
    values = {v for samples in scraped.values() for s in samples for v in s.labels.values()}
    assert not [v for v in values if re.search(r"_[0-9a-f]{24}", v)]


def exported(scraped: dict[str, list[Sample]]) -> dict[str, set[str]]:
    """The labels that each exported name has."""
    found: dict[str, set[str]] = {}
    for sample in (sample for samples in scraped.values() for sample in samples):
        found.setdefault(sample.name, set()).update(sample.labels)
    return found | ON_GPU


@pytest.mark.parametrize("query", [*panels(), *alerts()], ids=lambda query: query.where)
def test_every_query_asks_for_what_there_is(query: Query, scraped: dict[str, list[Sample]]) -> None:
    assert query.problems(exported(scraped)) == []
