"""Who is alive: every worker signs in twice a second, by the broker's clock.

No process trusts another's clock: ages are counted by the broker, so a worker whose clock is
an hour off changes nothing.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from itertools import chain

import msgspec

from shared.broker import Pipe
from shared.footprint import Footprint
from shared.keys import WORKERS

INTERVAL_S = 0.5
_ALIVE_MS = 4_000
FORGET_MS = 15_000


class Offers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker can do that another of its stage may not; where nothing is said, anything.

    `languages` are what speech is understood in, as ISO 639 codes; `voices` it can be spoken with.
    """

    languages: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker says of itself. On the wire it says only what differs from nothing.

    `queue_delay_ms` is how long its stage's work waits before it begins, and `busy` how many of its
    slots were at work on average, both of the last ten seconds (`shared.queueing`); for VAD, which
    has no slots, the delay is that with which audio is heard.
    """

    worker_id: str
    stage: str
    ready: bool
    model: str = ""
    device: str = "cpu"
    load: int = 0
    slots: int = 0
    queue_delay_ms: int = 0
    busy: float = 0.0
    offers: Offers = Offers()
    footprint: Footprint = Footprint()
    host: str = msgspec.field(default_factory=socket.gethostname)
    pid: int = msgspec.field(default_factory=os.getpid)


async def sign_in(pipe: Pipe, info: WorkerInfo) -> None:
    """Notes that the worker is alive."""
    description = msgspec.json.encode(info)
    await pipe.script("heartbeat", [WORKERS], [0, "", "", info.worker_id, description, FORGET_MS])


async def sign_off(pipe: Pipe, worker_id: str) -> None:
    """Takes the worker off the list at once."""
    await pipe.script("heartbeat", [WORKERS], [0, "", "", worker_id, "", FORGET_MS])


async def keep_signing_in(pipe: Pipe, describe: Callable[[], WorkerInfo]) -> None:
    """Signs in twice a second, until cancelled."""
    while True:
        await sign_in(pipe, describe())
        await asyncio.sleep(INTERVAL_S)


class Heartbeat:
    """Signs a worker in for as long as it lives, as a task of `tasks`."""

    def __init__(
        self, pipe: Pipe, describe: Callable[[], WorkerInfo], tasks: asyncio.TaskGroup
    ) -> None:
        self._pipe = pipe
        self._describe = describe
        self._tasks = tasks
        self._task = self._begin()

    def now(self) -> None:
        """Signs in at once, for what has changed."""
        self._task.cancel()
        self._task = self._begin()

    def end(self) -> None:
        self._task.cancel()

    def _begin(self) -> asyncio.Task[None]:
        beating = keep_signing_in(self._pipe, self._describe)
        return self._tasks.create_task(beating, name="heartbeat")


async def living(pipe: Pipe, within_ms: int = _ALIVE_MS) -> list[WorkerInfo]:
    """The workers that signed in within the last four seconds, or as said."""
    described = await alive(pipe, WORKERS, within_ms)
    return [msgspec.json.decode(info, type=WorkerInfo) for info in described]


async def alive(pipe: Pipe, key: str, within_ms: int = _ALIVE_MS) -> list[bytes]:
    """How those describe themselves that signed in at `key` within the last four seconds."""
    rows, (seconds, micros) = await asyncio.gather(
        pipe.command("HGETALL", key), pipe.command("TIME")
    )
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    stamped = [value.partition(b" ") for value in rows[1::2]]
    return [described for seen_ms, _, described in stamped if now_ms - int(seen_ms) <= within_ms]


async def offered(pipe: Pipe) -> Offers:
    """What the workers that are ready can do between them.

    Of a stage whose workers have no limit, or that has no worker yet, nothing is said.
    """
    ready = [worker for worker in await living(pipe) if worker.ready]
    return Offers(
        languages=_union([w.offers.languages for w in ready if w.stage == "stt"]),
        voices=_union([w.offers.voices for w in ready if w.stage == "tts"]),
    )


def _union(offers: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What any of them has, in order of first mention; nothing where one has no limit."""
    return tuple(dict.fromkeys(chain.from_iterable(offers))) if all(offers) else ()
