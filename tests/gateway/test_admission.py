"""Who is let in: the policy by a clock that tests move, a whole server whose stage stands still."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import openai
import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from client import Parley, ParleyError
from gateway.admission import Admission, Overloaded
from shared.broker import Pipe
from shared.broker import connect as connect_broker
from shared.footprint import Footprint
from shared.heartbeat import WorkerInfo
from shared.keys import Keyspace
from shared.settings import Settings
from shared.worker import Context
from tests.gateway.realtime_client import Client, joined, resumed
from tests.gateway.running import Gateway, gateway, instant, signed_in, stages
from tests.gateway.talk import Clock
from tests.stages import until, working
from workers.llm import worker as llm
from workers.llm.engines import Prompt, Step
from workers.llm.engines.instant import InstantEngine

LIMIT_MS = 200
NOTHING = Footprint()


def worker(
    stage: str,
    delay_ms: int = 0,
    busy: float = 0.0,
    slots: int = 100,
    footprint: Footprint = NOTHING,
) -> WorkerInfo:
    return WorkerInfo(
        worker_id=f"{stage}_{delay_ms}",
        stage=stage,
        ready=True,
        slots=slots,
        busy=busy,
        queue_delay_ms=delay_ms,
        footprint=footprint,
    )


def policy(limit_ms: int = LIMIT_MS) -> tuple[Admission, Clock]:
    clock = Clock()
    return Admission(limit_ms, clock, random.Random(0)), clock


def observe(
    admission: Admission,
    workers: Sequence[WorkerInfo],
    gateway: Footprint = NOTHING,
    sessions: int = 0,
) -> None:
    admission.observe(workers, gateway, sessions)


def let_in(admission: Admission, sessions: int, most: int = 1_000, name: str = "s") -> int:
    """How many get in, one after another, beside `sessions`."""
    for number in range(most):
        try:
            admission.admit(f"{name}_{number}", sessions + number)
        except Overloaded:
            return number
    return most


def test_where_nothing_is_known_of_load_everybody_is_let_in() -> None:
    admission, _ = policy()
    assert let_in(admission, 0) == 1_000


def test_a_delay_above_the_limit_refuses_and_the_stage_is_named() -> None:
    admission, _ = policy()
    observe(admission, [worker("vad"), worker("stt", LIMIT_MS), worker("llm")])
    admission.check(5)
    observe(admission, [worker("stt", 100), worker("llm", LIMIT_MS + 1), worker("llm", 3)])
    with pytest.raises(Overloaded, match="work waits 201 ms for llm; try again in"):
        admission.check(5)


def test_who_was_refused_waits_until_the_delay_is_half_the_limit() -> None:
    admission, _ = policy()
    for delay_ms, refused in ((150, False), (201, True), (150, True), (101, True), (100, False)):
        observe(admission, [worker("tts", delay_ms)])
        assert (let_in(admission, 9, 1) == 0) is refused
    observe(admission, [worker("tts", 150)])
    admission.check(5)


def test_a_worker_that_loads_its_model_or_takes_no_more_work_keeps_nobody_out() -> None:
    admission, _ = policy()
    busy = Footprint(cpu_percent=200, cores=2)
    other = WorkerInfo(
        worker_id="w", stage="llm", ready=False, queue_delay_ms=9_000, footprint=busy
    )
    for _ in range(30):
        observe(admission, [other, worker("llm")])
    admission.check(5)


def test_of_a_crowd_at_once_as_many_are_let_in_as_there_will_be_slots_for() -> None:
    admission, clock = policy()
    observe(admission, [worker("vad", slots=0), worker("llm", busy=2, slots=4), worker("tts")])
    # those who are there take half of the slots, of 0.65 that may be: 1.3 times as many could
    assert let_in(admission, 20) == 7
    with pytest.raises(Overloaded, match="llm has enough to do"):
        admission.check(27)
    # those ask for hardly anything: there is room for more of the kind
    clock.now_s += 30
    observe(admission, [worker("llm", busy=2, slots=4)])
    assert let_in(admission, 27, name="t") == 9


def test_what_a_stage_did_lately_counts_too() -> None:
    admission, _ = policy()
    observe(admission, [worker("llm", busy=3, slots=4)])
    numbers = []
    for _ in range(30):
        observe(admission, [worker("llm", busy=1, slots=4)])
        numbers.append(let_in(admission, 20))
        for number in range(numbers[-1]):
            admission.left(f"s_{number}")
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (0, 30)


def test_newcomers_count_as_known_by_and_by() -> None:
    numbers = []
    for later_s in (0, 5, 10, 15, 20):
        admission, clock = policy()
        observe(admission, [worker("llm", busy=1.6, slots=4)])
        let_in(admission, 20, 10)
        clock.now_s += later_s
        numbers.append(let_in(admission, 30, name="t"))
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1] / 2


def test_the_more_the_sessions_ask_for_the_fewer_newcomers_are_let_in() -> None:
    numbers = []
    for busy in (0.5, 1.0, 2.0, 3.0, 3.3):
        admission, _ = policy()
        observe(admission, [worker("llm", busy=busy, slots=4)])
        numbers.append(let_in(admission, 40))
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > 40
    assert numbers[-1] == 0


def test_where_those_were_many_who_have_left_as_many_may_come() -> None:
    admission, clock = policy()
    observe(admission, [worker("llm", busy=3, slots=4)])
    assert let_in(admission, 0, 1) == 0
    for number in range(40):
        admission.left(f"t_{number}")
    assert let_in(admission, 0) == 35
    clock.now_s += 5
    assert let_in(admission, 35, 1) == 0


def test_somebody_who_comes_again_and_again_is_let_in_however_busy() -> None:
    admission, clock = policy()
    for _ in range(10):
        assert let_in(admission, 0, 1) == 1
        clock.now_s += 15
        observe(admission, [worker("llm", busy=0.6, slots=1)])
        admission.left("s_0")


def test_newcomers_who_leave_at_once_let_nobody_else_in() -> None:
    admission, _ = policy()
    observe(admission, [worker("llm", busy=2, slots=4)])
    for _ in range(100):
        assert let_in(admission, 20, 1) == 1
        admission.left("s_0")
    assert let_in(admission, 20) == 7


def test_newcomers_who_have_left_make_room() -> None:
    admission, _ = policy()
    observe(admission, [worker("llm", busy=2, slots=4)])
    number = let_in(admission, 20)
    admission.left("s_3")
    assert let_in(admission, 20 + number - 1, name="t") == 1


def test_processors_that_are_taken_let_nobody_in_whatever_slots_are_free() -> None:
    admission, _ = policy()
    hot = [
        worker(stage, footprint=Footprint(machine=machine, cpu_percent=percent, cores=2))
        for stage, machine, percent in (("stt", "a", 60), ("llm", "a", 110), ("tts", "b", 100))
    ]
    observe(admission, hot)
    assert let_in(admission, 4, 3) == 3  # a second says little
    for number in range(3):
        admission.left(f"s_{number}")
    for _ in range(40):
        observe(admission, hot)
    with pytest.raises(Overloaded, match="its processors have enough to do"):
        admission.check(4)
    for _ in range(10):
        observe(admission, [worker("llm", footprint=Footprint(machine="b", cores=2))])
    admission.check(4)


def test_a_gateway_that_does_what_one_processor_can_lets_nobody_in() -> None:
    admission, _ = policy()
    for _ in range(40):
        observe(admission, [worker("llm")], Footprint(cpu_percent=50, cores=16), 100)
    # another half of what they take is left, and some of it is not for them
    assert let_in(admission, 100) in range(50, 65)
    for _ in range(40):
        observe(admission, [worker("llm")], Footprint(cpu_percent=76, cores=16), 150)
    with pytest.raises(Overloaded, match="its gateway has enough to do"):
        admission.check(150)
    for _ in range(40):
        observe(admission, [worker("llm")], Footprint(cpu_percent=20, cores=16), 40)
    admission.check(40)


def test_a_gateway_that_is_busy_before_it_serves_anybody_keeps_few_out() -> None:
    admission, _ = policy()
    for _ in range(2):  # as when it starts
        observe(admission, [worker("llm")], Footprint(cpu_percent=100, cores=16), 0)
    assert let_in(admission, 0) > 50


def test_the_gateway_takes_its_machines_processors_too() -> None:
    admission, _ = policy()
    hot = worker("llm", footprint=Footprint(machine="a", cpu_percent=120, cores=2))
    for _ in range(40):
        observe(admission, [hot], Footprint(machine="b", cpu_percent=40, cores=2), 100)
    admission.check(100)
    for _ in range(40):
        observe(admission, [hot], Footprint(machine="a", cpu_percent=40, cores=2), 100)
    with pytest.raises(Overloaded, match="its processors have enough to do"):
        admission.check(100)


def test_refused_clients_are_sent_apart_within_bounds() -> None:
    admission, _ = policy()
    observe(admission, [worker("llm", LIMIT_MS + 1)])
    later = set()
    for _ in range(200):
        with pytest.raises(Overloaded) as refused:
            admission.check(0)
        later.add(refused.value.retry_after_s)
    assert (min(later), max(later)) == (5, 15)
    assert len(later) == 11


def test_without_a_limit_nobody_is_refused() -> None:
    admission, _ = policy(0)
    observe(admission, [worker("llm", 9_000, busy=4, slots=4)])
    assert let_in(admission, 0) == 1_000


# --- a whole server ---


class Held(InstantEngine):
    """Answers once it may."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.may = asyncio.Event()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        await self.may.wait()
        async with aclosing(super().stream(prompt)) as steps:
            async for step in steps:
                yield step


@asynccontextmanager
async def held_server(redis_url: str) -> AsyncIterator[tuple[Gateway, Held]]:
    """A server whose language model, which answers one at a time, does so once it may."""
    settings = instant(redis_url).model_copy(update={"llm_slots": 1, "queue_limit_ms": LIMIT_MS})
    engine = Held(settings)
    async with Pipe(connect_broker(redis_url)) as pipe:
        context = Context("llm_1", settings, Keyspace(settings.shards, settings.lanes), pipe)
        running = llm.start(engine, context)
        async with (
            stages(settings, but="llm"),
            working(running),
            signed_in(pipe, "llm", running),
            gateway(settings) as served,
        ):
            try:
                yield served, engine
            finally:
                engine.may.set()


async def refusal(url: str) -> InvalidStatus | None:
    """How a client is refused that connects, if it is."""
    try:
        async with connect(url):
            return None
    except InvalidStatus as refused:
        return refused


async def is_refused_for_waiting(url: str) -> bool:
    """Whether a queue is why a client is refused; sooner, the slots that are taken are."""
    refused = await refusal(url)
    return refused is not None and b"ms for llm; try again in" in refused.response.body


async def nobody_waits(url: str) -> bool:
    return not await is_refused_for_waiting(url)


async def ask(client: Client) -> None:
    await client.say("Hello?")
    await client.send("response.create")
    await client.until("response.created")


async def test_a_stage_that_stands_still_lets_nobody_new_in_and_keeps_those_who_talk(
    redis_url: str,
) -> None:
    async with held_server(redis_url) as (served, engine):
        realtime, original = (f"ws://{served.host}{path}" for path in ("/v1/realtime", "/ws"))
        async with joined(served) as first, joined(served) as second:
            await ask(first)
            await ask(second)
            await until(lambda: is_refused_for_waiting(realtime))
            for url in (realtime, original):
                refused = await refusal(url)
                assert refused is not None
                assert refused.response.status_code == 503
                assert 5 <= int(refused.response.headers["Retry-After"]) <= 15
                assert b"the server is busy: work waits" in refused.response.body
            # who has a session goes on with it, also over another connection
            session, last = first.seen[0]["session"], first.seen[-1]["event_id"]
            first.vanish()
            async with resumed(served, session, last) as again:
                engine.may.set()
                assert (await again.until("response.done"))["response"]["status"] == "completed"
            await second.until("response.done")
            await until(lambda: nobody_waits(realtime))


async def test_clients_libraries_are_told_why_and_until_when(redis_url: str) -> None:
    async with (
        held_server(redis_url) as (served, _),
        joined(served) as first,
        joined(served) as second,
    ):
        await ask(first)
        await ask(second)
        await until(lambda: is_refused_for_waiting(f"ws://{served.host}/v1/realtime"))
        with pytest.raises(ParleyError, match=r"the server is busy: .* for llm; try again in"):
            async with Parley(f"ws://{served.host}"):
                pass
        url = f"http://{served.host}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            with pytest.raises(openai.InternalServerError, match="the server is busy") as secret:
                await client.realtime.client_secrets.create()
            assert secret.value.status_code == 503
            assert secret.value.code == "overloaded"
            assert 5 <= int(secret.value.response.headers["Retry-After"]) <= 15
            with pytest.raises(InvalidStatus, match="503"):
                async with client.realtime.connect(model="gpt-realtime"):
                    pass
