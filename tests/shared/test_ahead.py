"""Streams begun before anybody asks for them."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from prometheus_client import REGISTRY

from shared.ahead import Ahead
from shared.metrics.work import MeasuredAhead
from tests.stages import until


class Source:
    """A stream of numbers that goes on when it is let, and knows whether it was closed."""

    def __init__(self, numbers: int = 3, *, fails: bool = False) -> None:
        self._numbers = numbers
        self._fails = fails
        self.go_on = asyncio.Event()
        self.opened = self.closed = False

    async def stream(self) -> AsyncGenerator[int, None]:
        self.opened = True
        try:
            for number in range(self._numbers):
                if number:
                    await self.go_on.wait()
                yield number
            if self._fails:
                raise ValueError("no more")
        finally:
            self.closed = True


def ahead_of(slots: int, keep_s: float = 60) -> Ahead[str, int]:
    return Ahead(slots, MeasuredAhead("test"), keep_s)


def counted(outcome: str) -> float:
    labels = {"stage": "test", "outcome": outcome}
    return REGISTRY.get_sample_value("parley_ahead_total", labels) or 0


async def test_who_asks_gets_all_of_it_what_is_there_and_what_is_to_come() -> None:
    ahead, source, other = ahead_of(slots=2), Source(), Source()
    used = counted("used")
    ahead.begin("a", source.stream)
    await until(lambda: source.opened)
    async with ahead.asked("a", other.stream) as numbers:
        assert await anext(numbers) == 0
        source.go_on.set()
        assert [number async for number in numbers] == [1, 2]
    assert (source.closed, other.opened) == (True, False)
    assert counted("used") == used + 1


async def test_a_stream_is_asked_for_once() -> None:
    ahead, source, other = ahead_of(slots=2), Source(), Source()
    ahead.begin("a", source.stream)
    async with ahead.asked("a", other.stream), ahead.asked("a", other.stream) as numbers:
        assert await anext(numbers) == 0
        assert other.opened
    assert other.closed


@pytest.mark.parametrize("read", [0, 1])
async def test_at_the_end_of_the_block_the_stream_is_closed(read: int) -> None:
    ahead, source = ahead_of(slots=2), Source()
    ahead.begin("a", source.stream)
    await until(lambda: source.opened)
    async with ahead.asked("a", Source().stream) as numbers:
        for _ in range(read):
            await anext(numbers)
    assert source.closed


async def test_a_stream_that_fails_fails_for_whoever_asks() -> None:
    ahead, source = ahead_of(slots=2), Source(numbers=1, fails=True)
    ahead.begin("a", source.stream)
    await until(lambda: source.closed)
    async with ahead.asked("a", Source().stream) as numbers:
        assert await anext(numbers) == 0
        with pytest.raises(ValueError, match="no more"):
            await anext(numbers)


async def test_what_was_begun_takes_only_slots_that_are_free() -> None:
    ahead = ahead_of(slots=2)
    sources = {name: Source() for name in "abc"}
    for name, source in sources.items():
        ahead.begin(name, source.stream)
        ahead.begin(name, Source().stream)  # one is enough
    await until(lambda: sources["b"].opened)
    assert not sources["c"].opened
    unused = counted("unused")
    async with ahead.asked("b", Source().stream):  # which is in its slot already
        assert not sources["a"].closed
        async with ahead.asked("d", Source().stream):
            await until(lambda: sources["a"].closed)
            ahead.begin("c", sources["c"].stream)
    assert not sources["c"].opened
    assert counted("unused") == unused + 1
    ahead.begin("c", sources["c"].stream)
    await until(lambda: sources["c"].opened)
    await ahead.close()
    assert sources["c"].closed


async def test_a_session_has_one_stream_begun() -> None:
    ahead = ahead_of(slots=3)
    first, second, third, other = Source(), Source(), Source(), Source()
    ahead.begin("other", other.stream, "theirs")
    ahead.begin("first", first.stream, "ours")
    await until(lambda: first.opened)
    ahead.begin("second", second.stream, "ours")
    await until(lambda: second.opened)
    assert first.closed
    async with ahead.asked("third", third.stream, "ours"):
        assert second.closed
        assert other.opened
        assert not other.closed
    async with ahead.asked("other", Source().stream, "theirs") as numbers:
        assert await anext(numbers) == 0
    assert other.closed
    await ahead.close()


async def test_what_nobody_will_ask_for_is_done_until_a_job_begins() -> None:
    ahead, go_on, steps = ahead_of(slots=2), asyncio.Event(), []

    async def work() -> None:
        steps.append("begun")
        try:
            await go_on.wait()
            steps.append("done")
        finally:
            steps.append("over")

    spent = asyncio.create_task(ahead.spend(work))
    await until(lambda: steps == ["begun"])
    source = Source()
    ahead.begin("b", source.stream)
    assert not await ahead.spend(work), "both slots are taken"
    source = Source()
    async with ahead.asked("a", source.stream) as numbers:
        assert await anext(numbers) == 0
        async with ahead.asked("c", Source().stream):  # which finds it going
            assert not await spent
    assert steps == ["begun", "over"]
    go_on.set()
    assert await ahead.spend(work)
    assert steps == ["begun", "over", "begun", "done", "over"]


async def test_work_that_fails_by_itself_fails() -> None:
    async def work() -> None:
        raise TimeoutError("its server was slow")

    with pytest.raises(TimeoutError, match="slow"):
        await ahead_of(slots=1).spend(work)


@pytest.mark.parametrize("complete", [False, True])
async def test_what_nobody_asks_for_in_time_is_given_up(complete: bool) -> None:
    ahead, source, other = ahead_of(slots=2, keep_s=0.05), Source(), Source()
    unused = counted("unused")
    if complete:
        source.go_on.set()
    ahead.begin("a", source.stream)
    await until(lambda: source.closed and counted("unused") == unused + 1)
    async with ahead.asked("a", other.stream) as numbers:
        assert await anext(numbers) == 0
    assert other.opened
