"""A whole run: a system, sessions that come and go, faults, and the verdict."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.chaos import proxy
from bench.chaos.broker_view import BrokerView, viewing
from bench.chaos.conversation import Conversation
from bench.chaos.faults import Kind, schedule
from bench.chaos.injection import Injector
from bench.chaos.invariants import Violation, check
from bench.chaos.proxy import Link
from bench.chaos.real import MOST_TOKENS
from bench.chaos.record import Record
from bench.chaos.recovery import Served, Struck, Timeline
from bench.chaos.sampling import Sampler, Trend
from bench.chaos.script import Turn, script
from bench.chaos.system import System, running
from shared.audio import Int16
from shared.keys import Keyspace
from shared.scripts import SESSION_TTL_S
from shared.settings import settings

# Keys of a session that was closed go at once. Those of one whose gateway died first expire, and
# a VAD worker then finds out within half a minute.
_GONE_S = SESSION_TTL_S + 40.0
_POLL_S = 1.0
_HOPELESS = 100  # violations, after which a run goes on no longer


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of. It is over when there were enough turns, faults and minutes.

    `sessions` at once, each of `turns_each` turns, `pause_s` apart on average; a fault of
    `kinds` every `every_s` on average, `most_at_once` at most.
    """

    seed: int
    profile: str
    sessions: int
    turns_each: int
    pause_s: float
    gateways: int
    workers: int
    kinds: list[Kind]
    every_s: float
    most_at_once: int
    turns: int
    faults: int
    minutes: float
    sample_s: float


@dataclass(slots=True)
class Outcome:
    """What came of a run so far."""

    struck: list[Struck]
    timelines: list[Timeline]
    violations: list[Violation]
    trends: list[Trend]
    sessions: int = 0
    resumed: int = 0
    seconds: float = 0.0
    left_s: float = 0.0
    """How long after the last session something of theirs was still there."""

    @property
    def turns(self) -> int:
        return len(self.timelines)


Tell = Callable[[str], None]


class Campaign:
    """Runs a plan; `tell` gets a line for every violation."""

    def __init__(
        self, plan: Plan, folder: Path, tell: Tell, questions: Sequence[Int16] = ()
    ) -> None:
        """Data and logs go to `folder`; `questions` are what is said to real engines, int16 (n,)
        at 24 kHz each."""
        self.outcome = Outcome([], [], [], [])
        self._plan = plan
        self._folder = folder
        self._tell = tell
        self._questions = questions
        self._links: dict[int, Link] = {}
        self._numbers = itertools.count()
        self._started_s = 0.0

    async def run(self, binary: Path) -> Outcome:
        """Runs it, with a broker whose server is `binary`.

        Raises:
            TimeoutError: the system did not become ready.
            BrokerError: the broker did not start, or not again.
        """
        plan = self._plan
        config = settings()
        keyspace = Keyspace(config.shards, config.lanes)
        async with (
            running(
                self._folder,
                binary,
                plan.gateways,
                plan.workers,
                self._blame_process,
                profile=plan.profile,
                llm_max_tokens=str(MOST_TOKENS),
                queue_limit_ms="0",  # faults make work wait, and everybody is to meet them
            ) as system,
            viewing(system.broker.url, keyspace) as view,
        ):
            sampler = Sampler(system, view, plan.sample_s)
            injector = Injector(system, self._links)
            self.outcome.struck = injector.struck
            self._started_s = time.monotonic()
            async with asyncio.TaskGroup() as tasks:
                sampling = tasks.create_task(sampler.run(), name="sampler")
                faults = schedule(plan.seed, plan.kinds, plan.every_s, plan.most_at_once)
                tasks.create_task(injector.run(faults), name="faults")
                await asyncio.gather(*(self._slot(system, view) for _ in range(plan.sessions)))
                injector.stop()
                sampling.cancel()
            self.outcome.seconds = time.monotonic() - self._started_s
            self.outcome.trends = sampler.trends
            await self._nothing_is_left(view)
        return self.outcome

    @property
    def _enough(self) -> bool:
        plan = self._plan
        return len(self.outcome.violations) > _HOPELESS or (
            self.outcome.turns >= plan.turns
            and len(self.outcome.struck) >= (plan.faults if plan.kinds else 0)
            and time.monotonic() - self._started_s >= plan.minutes * 60
        )

    async def _slot(self, system: System, view: BrokerView) -> None:
        """One session after another."""
        plan = self._plan
        while not self._enough:
            number = next(self._numbers)
            turns = script(plan.seed, number, plan.turns_each, plan.pause_s)
            dice = random.Random(f"link {plan.seed} {number}")
            async with proxy.opened(system.ports, dice) as link:
                self._links[number] = link
                conversation = Conversation(link.url, number, turns, self._voice)
                try:
                    await conversation.run(view.history)
                finally:
                    del self._links[number]
            self._judge(conversation, link)

    def _voice(self, turn: Turn) -> Int16:
        if self._questions:
            return self._questions[turn.tone_hz % len(self._questions)]
        return turn.speech(self._plan.seed)

    def _judge(self, conversation: Conversation, link: Link) -> None:
        record = conversation.record
        transcripts = None if self._questions else conversation.transcripts
        if violations := check(record, transcripts, conversation.history):
            for violation in violations:
                self._blame(violation)
            self._keep(record)
        served = [Served(each.gateway, each.opened_s, each.closed_s) for each in link.connections]
        self.outcome.sessions += 1
        self.outcome.resumed += record.resumed
        self.outcome.timelines += [
            Timeline.of(record.number, exchange, served) for exchange in record.exchanges
        ]

    def _keep(self, record: Record) -> None:
        """Writes down what the client saw, for whoever looks for the cause."""
        lines = [f"{record.session_id}\n"]
        for at_s, event in record.events:
            lines.append(f"{at_s - self._started_s:8.3f} {json.dumps(event.fields)}\n")
        (self._folder / f"session-{record.number}.log").write_text("".join(lines))

    def _blame_process(self, problem: str) -> None:
        self._blame(Violation("wrong", None, None, problem))

    def _blame(self, violation: Violation) -> None:
        self.outcome.violations.append(violation)
        of = "" if violation.session is None else f" in session {violation.session}"
        turn = "" if violation.turn is None else f", turn {violation.turn}"
        self._tell(f"{violation.kind}{of}{turn} (seed {self._plan.seed}): {violation.what}")

    async def _nothing_is_left(self, view: BrokerView) -> None:
        ended_s = time.monotonic()
        while left := await view.left_behind():
            if time.monotonic() - ended_s > _GONE_S:
                for each in left:
                    self._blame_process(f"left in the broker: {each}")
                break
            await asyncio.sleep(_POLL_S)
        self.outcome.left_s = time.monotonic() - ended_s
