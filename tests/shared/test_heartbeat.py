"""Who is alive, by the broker's clock alone."""

import asyncio

import msgspec
import pytest

from shared import heartbeat
from shared.broker import Pipe
from shared.heartbeat import Offers, WorkerInfo, living, offered, sign_in, sign_off
from shared.keys import WORKERS


def info(name: str, stage: str = "stt") -> WorkerInfo:
    return WorkerInfo(worker_id=name, stage=stage, ready=True, model="tiny", slots=4)


async def test_who_signs_in_is_alive_until_signing_off(pipe: Pipe) -> None:
    await asyncio.gather(sign_in(pipe, info("a")), sign_in(pipe, info("b", "llm")))
    assert sorted(await living(pipe), key=lambda worker: worker.worker_id) == [
        info("a"),
        info("b", "llm"),
    ]
    await sign_off(pipe, "a")
    assert await living(pipe) == [info("b", "llm")]


async def test_a_workers_own_clock_does_not_matter(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    await sign_in(pipe, info("an_hour_off"))
    assert [worker.worker_id for worker in await living(pipe)] == ["an_hour_off"]


async def test_the_silent_are_not_alive_and_are_forgotten_by_the_next(pipe: Pipe) -> None:
    seconds, _ = await pipe.command("TIME")
    for name, ago_s in (("silent", 10), ("long_gone", 60)):
        row = b"%d {}" % ((int(seconds) - ago_s) * 1000)
        await pipe.command("HSET", WORKERS, name, row)
    await sign_in(pipe, info("alive"))
    assert [worker.worker_id for worker in await living(pipe)] == ["alive"]
    assert sorted(await pipe.command("HKEYS", WORKERS)) == [b"alive", b"silent"]


async def test_keeping_signed_in_tells_what_is_true_each_time(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL_S", 0.001)
    told = iter([info("a", "vad"), info("a", "stt"), info("a", "llm")])
    with pytest.raises(RuntimeError):  # the generator of descriptions is exhausted
        await heartbeat.keep_signing_in(pipe, lambda: next(told))
    assert [worker.stage for worker in await living(pipe)] == ["llm"]


def offering(name: str, stage: str, *, ready: bool = True, **offers: tuple[str, ...]) -> WorkerInfo:
    return WorkerInfo(worker_id=name, stage=stage, ready=ready, offers=Offers(**offers))


async def test_what_is_offered_is_what_the_ready_workers_offer_between_them(pipe: Pipe) -> None:
    assert await offered(pipe) == Offers()
    for worker in (
        offering("a", "stt", languages=("en",)),
        offering("b", "stt", languages=("de", "en")),
        offering("c", "stt", ready=False, languages=("tlh",)),
        offering("d", "tts", voices=("joe",)),
        offering("e", "vad"),
    ):
        await sign_in(pipe, worker)
    everything = await offered(pipe)
    assert sorted(everything.languages) == ["de", "en"]
    assert everything.voices == ("joe",)


async def test_one_worker_without_a_limit_is_enough(pipe: Pipe) -> None:
    for worker in (offering("a", "stt", languages=("en",)), offering("b", "stt")):
        await sign_in(pipe, worker)
    assert await offered(pipe) == Offers()


async def test_a_heartbeat_says_only_what_differs_from_nothing(pipe: Pipe) -> None:
    await sign_in(pipe, WorkerInfo(worker_id="a", stage="stt", ready=True))
    (row,) = await pipe.command("HVALS", WORKERS)
    said = msgspec.json.decode(row.partition(b" ")[2])
    assert said.keys() == {"worker_id", "stage", "ready", "host", "pid"}
