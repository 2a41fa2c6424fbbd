"""How long work waits and how much is at work, by a clock that tests move."""

import asyncio

from shared.broker import Pipe
from shared.job import Job
from shared.queueing import WINDOW_S, Queueing
from shared.scripts import jobs as scripts
from tests.gateway.talk import Clock
from tests.shared.test_jobs import SHARD, Stage, consuming, respond
from tests.stages import until

BROKER_MS = 1_700_000_000_000  # at the clock's 100 s: what the two show has nothing in common


def queue() -> tuple[Queueing, Clock]:
    clock = Clock()
    queueing = Queueing(clock)
    queueing.tell(BROKER_MS)
    return queueing, clock


def entry(ago_ms: int, clock: Clock, number: int = 0) -> str:
    """One that was added so long ago."""
    return f"{BROKER_MS + round((clock.now_s - 100) * 1000) - ago_ms}-{number}"


def begin(queueing: Queueing, *entries: str, awaited: bool = True) -> None:
    for each in entries:
        queueing.takes(each)
        queueing.began(each, awaited=awaited)


def test_the_delay_is_what_a_tenth_exceeded_by_the_brokers_clock() -> None:
    queueing, clock = queue()
    begin(queueing, *(entry(10 * n, clock, n) for n in range(1, 21)))
    assert queueing.delay_ms == 180


def test_one_late_entry_is_no_queue_and_two_are() -> None:
    queueing, clock = queue()
    assert queueing.delay_ms == 0
    begin(queueing, entry(900, clock))
    assert queueing.delay_ms == 0
    begin(queueing, entry(700, clock))
    assert queueing.delay_ms == 700


def test_what_was_long_ago_is_forgotten() -> None:
    queueing, clock = queue()
    begin(queueing, entry(500, clock, 1), entry(500, clock, 2))
    clock.now_s += WINDOW_S - 1
    assert queueing.delay_ms == 500
    clock.now_s += 2
    assert queueing.delay_ms == 0


def test_what_nobody_awaits_and_what_was_taken_over_count_for_nothing() -> None:
    queueing, clock = queue()
    begin(queueing, *(entry(2_000, clock, n) for n in range(3)), awaited=False)
    for number in range(3):
        again = entry(3_000, clock, 10 + number)
        queueing.takes(again, counts=False)
        queueing.began(again)
    assert queueing.delay_ms == 0
    assert queueing.busy == 0
    clock.now_s += 1
    assert queueing.busy == 6


def test_before_the_brokers_clock_is_known_nothing_is_said() -> None:
    clock = Clock()
    queueing = Queueing(clock)
    begin(queueing, entry(900, clock, 1), entry(900, clock, 2))
    queueing.takes(entry(900, clock, 3))
    clock.now_s += 5
    assert queueing.delay_ms == 0


def test_what_waits_while_nothing_begins_is_delay() -> None:
    queueing, clock = queue()
    queueing.takes(entry(0, clock))
    clock.now_s += 1
    assert queueing.delay_ms == 0
    clock.now_s += 3
    assert queueing.delay_ms == 4_000
    begin(queueing, entry(0, clock, 7))
    assert queueing.delay_ms == 0


def test_what_nobody_has_taken_is_delay_until_something_begins() -> None:
    queueing, clock = queue()
    clock.now_s += 4
    queueing.unread(entry(2_500, clock))
    assert queueing.delay_ms == 2_500
    queueing.unread(None)
    assert queueing.delay_ms == 0
    queueing.unread(entry(30_000, clock))
    assert queueing.delay_ms == 4_000
    begin(queueing, entry(0, clock))
    assert queueing.delay_ms == 0


def test_load_is_the_average_of_the_last_seconds() -> None:
    queueing, clock = queue()
    first, second = entry(0, clock, 1), entry(0, clock, 2)
    begin(queueing, first)
    clock.now_s += 4
    begin(queueing, second)
    clock.now_s += 4
    assert queueing.busy == 12 / 8
    queueing.gone(first)
    queueing.gone(second)
    for _ in range(4):
        clock.now_s += 4
        last = queueing.busy
    assert last == 0


def test_work_that_was_given_up_before_it_began_is_neither_waiting_nor_at_work() -> None:
    queueing, clock = queue()
    given_up = entry(0, clock)
    queueing.takes(given_up)
    queueing.gone(given_up)
    queueing.began(given_up)
    clock.now_s += 4
    assert (queueing.delay_ms, queueing.busy) == (0, 0)


# --- of a real consumer ---


async def test_the_broker_says_what_nobody_has_taken(pipe: Pipe, redis_url: str) -> None:
    now_ms, oldest = await scripts.waiting(pipe, SHARD, "llm")
    seconds, _ = await pipe.command("TIME")
    assert abs(now_ms / 1000 - int(seconds)) <= 2
    assert oldest is None
    release = asyncio.Event()

    async def work(job: Job) -> None:
        job.start()
        await release.wait()
        await job.finish()

    async with consuming(Stage(work, slots=1), pipe, redis_url) as consumer:
        for _ in range(3):
            await respond(pipe)
        await until(lambda: consumer.load == 1)
        [_, waits, _] = await pipe.command("XRANGE", SHARD.jobs("llm"), "-", "+")
        _, oldest = await scripts.waiting(pipe, SHARD, "llm")
        assert oldest == waits[0].decode()
        await until(lambda: consumer.queueing.delay_ms > 1_000)
        release.set()
        await until(lambda: consumer.queueing.busy > 0 and consumer.load == 0)
    # the second and the third had waited, and say so when they began
    assert consumer.queueing.delay_ms > 1_000
