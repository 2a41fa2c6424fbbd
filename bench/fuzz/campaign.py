"""A whole run: a system, neighbours alone, then frames beside them, and the verdict."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.chaos.broker_view import BrokerView, viewing
from bench.chaos.system import System, running
from bench.fuzz import wire
from bench.fuzz.footprint import Footprint, bad_lines, footprints
from bench.fuzz.frames import Frame
from bench.fuzz.neighbours import Neighbours
from bench.fuzz.tally import Tally
from bench.fuzz.thrower import throw_at_a_session
from shared.keys import Keyspace
from shared.scripts import SESSION_TTL_S
from shared.settings import settings

_EPHEMERAL = re.compile(r"parley:(secret:|\{access:.*\}:secrets$)")
_POLL_S = 0.5
# Keys of a session whose client vanished expire; a VAD worker finds out within half a minute.
_GONE_S = SESSION_TTL_S + 40.0
# Connections that were closed linger for what their peers may still read.
_SETTLED_S = 30.0
_WIRE = 0.7  # of the throwers' turns go below the protocol's events


@dataclass(frozen=True, slots=True)
class Plan:
    """`frames` malformed frames from `throwers` at once, in `rounds` between which the gateway may
    settle, beside so many `neighbours`, which talk for `alone_s` before."""

    seed: int
    frames: int
    throwers: int
    rounds: int
    neighbours: int
    alone_s: float


@dataclass
class Outcome:
    """What came of a run. Footprints are taken when everything is quiet: once ready, after each
    round, and at the end; waits are the neighbours' in s."""

    tally: Tally
    footprints: list[tuple[str, dict[str, Footprint]]] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)
    beside_s: list[float] = field(default_factory=list)
    turns: int = 0
    seconds: float = 0.0


async def throw(host: str, plan: Plan, tally: Tally, until: int) -> None:
    """Throws until so many malformed frames were thrown in all."""

    async def thrower(number: int) -> None:
        dice = random.Random(f"{plan.seed} {number} {tally.malformed}")
        while tally.malformed < until:
            if dice.random() < _WIRE:
                await _throw_below(host, tally, dice)
            else:
                await throw_at_a_session(host, tally, dice)

    async with asyncio.TaskGroup() as tasks:
        for number in range(plan.throwers):
            tasks.create_task(thrower(number))


async def _throw_below(host: str, tally: Tally, dice: random.Random) -> None:
    make = dice.choice([wire.request, wire.frames, wire.secret])
    data, frames = make(dice, host)
    for _ in range(frames):
        tally.throw(Frame("wire", data))
    tally.connections += 1
    try:
        answer = await wire.throw(host, data, dice)
    except OSError as error:
        tally.wrong("no connection", repr(error), data)
        return
    if answer.startswith(b"HTTP/1.1 5"):
        tally.wrong("the server blames itself", repr(answer), data)


async def run(plan: Plan, folder: Path, binary: Path, tell: Callable[[str], None]) -> Outcome:
    """Runs a plan against a system of its own, whose logs go to `folder`.

    Raises:
        TimeoutError: the system did not become ready.
        BrokerError: the broker did not start.
    """
    outcome = Outcome(Tally(tell))
    tally = outcome.tally
    config = settings()
    async with (
        running(folder, binary, 1, 1, tally.wrong, profile="instant") as system,
        viewing(system.broker.url, Keyspace(config.shards, config.lanes)) as view,
    ):
        before = footprints(system)
        outcome.footprints.append(("ready", before))
        host = f"127.0.0.1:{system.ports[0]}"
        async with _beside(host, view, plan, outcome):
            started_s = time.monotonic()
            for number in range(1, plan.rounds + 1):
                await throw(host, plan, tally, plan.frames * number // plan.rounds)
                await _settle(system, before, plan.neighbours)
                outcome.footprints.append((f"round {number}", footprints(system)))
            outcome.seconds = time.monotonic() - started_s
        await _nothing_is_left(view, tally)
        outcome.footprints.append(("end", footprints(system)))
        _check_files(before, outcome.footprints[-1][1], tally)
    for what, line in bad_lines(folder):
        tally.wrong(what, line)
    return outcome


@asynccontextmanager
async def _beside(host: str, view: BrokerView, plan: Plan, outcome: Outcome) -> AsyncIterator[None]:
    """Neighbours talk alone for a while, and then beside what happens in the block."""
    neighbours = Neighbours(f"ws://{host}", view, plan.seed, outcome.tally.wrong)
    outcome.tally.neighbours_ids = lambda: neighbours.ids
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(plan.neighbours):
            tasks.create_task(neighbours.talk(enough))
        await asyncio.sleep(plan.alone_s)
        outcome.alone_s, neighbours.waits_s = neighbours.waits_s, outcome.beside_s
        yield
        enough.set()
    outcome.turns = neighbours.turns


async def _settle(system: System, before: dict[str, Footprint], neighbours: int) -> None:
    """Waits until the gateway has let go of all connections but the neighbours', or it should
    have."""
    [gateway] = system.of("gateway")

    def settled() -> bool:
        files = footprints(system)[gateway.name].files
        return files <= before[gateway.name].files + neighbours

    await _until(settled, _SETTLED_S)


async def _nothing_is_left(view: BrokerView, tally: Tally) -> None:
    async def left() -> list[str]:
        # ephemeral keys last for as long as they were asked for
        return [each for each in await view.left_behind() if not _EPHEMERAL.match(each)]

    async def nothing() -> bool:
        return not await left()

    if not await _until(nothing, _GONE_S):
        for each in await left():
            tally.wrong("left in the broker", each)


def _check_files(before: dict[str, Footprint], after: dict[str, Footprint], tally: Tally) -> None:
    for name, now in after.items():
        if now.files > before[name].files:
            tally.wrong("open files are left", f"{name}: {before[name].files}, then {now.files}")


async def _until(condition: Callable[[], bool | Awaitable[bool]], within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return True
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
