"""Typed wrappers of the scripts that a job's owner runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.broker import Argument, Pipe, fields_of
from shared.keys import SessionKeys, Shard
from shared.messages import (
    AnyItem,
    Item,
    JobMessage,
    LlmJob,
    OutMessage,
    ResponseCreated,
    TtsJob,
    encode,
)
from shared.scripts import SESSION_TTL_S

Status = Literal["ok", "lost", "stale", "gone", "differs"]
"""ok; the job is another's or done; its response was cancelled or is over; its session ended; the
broker lost text that this owner emitted, so that the job must be begun again."""

TurnStatus = Literal["ok", "lost", "stale", "gone", "active"]

BuryStatus = Literal["ok", "lost", "gone"]


@dataclass(frozen=True, slots=True)
class Ownership:
    """A job as its owner holds it: where it stands, under whose name and since which delivery.

    `attempt` counts deliveries: a worker that was held up, lost the job and took it back is not
    the owner it was.
    """

    shard: Shard
    stage: str
    consumer: str
    entry: str
    attempt: int
    epoch: str

    @property
    def arguments(self) -> list[Argument]:
        return [self.stage, self.consumer, self.entry, self.attempt, self.epoch]


@dataclass(frozen=True, slots=True)
class Progress:
    """Text a response grows by.

    `position` is the length in UTF-8 bytes it had before, by which a repeated emission is known:
    one that is not the job's last must have text. `segments` are complete then.
    """

    position: int
    text: str
    segments: int


@dataclass(frozen=True, slots=True)
class Emission:
    """What one step of a job puts out. `begins` are items that are new at the conversation's end;
    `item` is written over the version of it that is there, if it still is."""

    session: SessionKeys
    response_id: str
    messages: Sequence[OutMessage] = ()
    jobs: Sequence[TtsJob] = ()
    progress: Progress | None = None
    begins: Sequence[AnyItem] = ()
    item: AnyItem | None = None


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A response about to begin: what the client is shown, the model's job."""

    response_id: str
    created: ResponseCreated
    job: LlmJob

    @property
    def arguments(self) -> list[Argument]:
        return [
            self.response_id,
            encode(self.created),
            encode(self.job),
        ]


async def emit(pipe: Pipe, owner: Ownership, emission: Emission) -> Status:
    """Emits part of a job's work; what has `progress` may be repeated after a lost reply."""
    return _status(await pipe.script("emit", *_emission(owner, emission)))


async def finish(pipe: Pipe, owner: Ownership, emission: Emission) -> Status:
    """Emits the last of a job's work and acknowledges it, in one step.

    A job whose status is "stale" or "gone" has been acknowledged too; "differs" leaves it pending.
    Repeated after a lost reply the status is "lost".
    """
    keys, arguments = _emission(owner, emission)
    item = emission.item
    arguments += [item.item_id, encode(item)] if item else ["", ""]
    return _status(await pipe.script("finish", keys, arguments))


async def finish_turn(
    pipe: Pipe,
    owner: Ownership,
    session: SessionKeys,
    *,
    messages: Sequence[OutMessage],
    item: Item | None,
    respond: NewResponse | None,
) -> TurnStatus:
    """Finishes a transcription and begins the answer, unless the user has spoken on.

    "stale" and "active" mean that the transcript was taken but no answer was begun.
    """
    keys = [
        owner.shard.jobs("stt"),
        session.state,
        session.out,
        session.response(respond.response_id if respond else "none"),
        owner.shard.jobs("llm"),
        session.items,
        session.order,
    ]
    arguments = [
        *_header(session),
        *owner.arguments,
        *_messages(messages),
        *([item.item_id, encode(item)] if item else ["", ""]),
        *(["1", *respond.arguments] if respond else ["0"]),
    ]
    return (await pipe.script("finish_turn", keys, arguments)).decode()  # type: ignore[no-any-return]


async def bury(
    pipe: Pipe,
    owner: Ownership,
    session: SessionKeys,
    job: bytes,
    problem: str,
    messages: Sequence[OutMessage],
) -> BuryStatus:
    """Dead-letters a job and tells its client."""
    keys = [owner.shard.jobs(owner.stage), owner.shard.dead, session.state, session.out]
    arguments = [
        *_header(session),
        *owner.arguments,
        job,
        problem,
        *_messages(messages),
    ]
    return (await pipe.script("bury", keys, arguments)).decode()  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job as the broker delivered it."""

    entry: str
    attempt: int
    fields: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Orphan:
    """A job whose lease ran out, and which attempt its next delivery is."""

    entry: str
    attempt: int


async def orphans(pipe: Pipe, shard: Shard, stage: str, lease_ms: int, count: int) -> list[Orphan]:
    """Up to `count` jobs whose lease of `lease_ms` ran out, the oldest first."""
    rows = await pipe.command(
        "XPENDING", shard.jobs(stage), stage, "IDLE", lease_ms, "-", "+", count
    )
    return [Orphan(entry.decode(), delivered + 1) for entry, _, _, delivered in rows]


async def claim(
    pipe: Pipe, shard: Shard, stage: str, consumer: str, lease_ms: int, entries: Sequence[str]
) -> list[Delivery]:
    """Takes over those of some jobs whose lease of `lease_ms` ran out."""
    arguments = [*_stage_header(shard), stage, consumer, lease_ms, len(entries), *entries]
    rows = await pipe.script("claim", [shard.jobs(stage)], arguments)
    return [Delivery(entry.decode(), attempt, fields_of(flat)) for entry, attempt, flat in rows]


async def set_idle(
    pipe: Pipe,
    shard: Shard,
    stage: str,
    consumer: str,
    idle_ms: int,
    entries: Sequence[str],
    *,
    counts: bool = True,
) -> list[str]:
    """Renews the lease of jobs (`idle_ms` 0) or hands them on (`idle_ms` of a whole lease).

    `counts` says whether handing on ends an attempt. Returns the entries that `consumer` no longer
    owns.
    """
    uncounted = 0 if counts else 1
    arguments = [*_stage_header(shard), stage, consumer, idle_ms, uncounted, len(entries), *entries]
    lost = await pipe.script("lease", [shard.jobs(stage)], arguments)
    return [entry.decode() for entry in lost]


async def waiting(pipe: Pipe, shard: Shard, stage: str) -> tuple[int, str | None]:
    """The broker's time in ms, and the oldest job that nobody has taken."""
    arguments = [*_stage_header(shard), stage]
    now_ms, entry = await pipe.script("waiting", [shard.jobs(stage)], arguments)
    return int(now_ms), entry.decode() or None


async def reap(pipe: Pipe, shard: Shard, stage: str, silent_ms: int) -> int:
    """Removes consumers without pending jobs that were silent for so long; returns how many."""
    arguments = [*_stage_header(shard), stage, silent_ms]
    return int(await pipe.script("reap", [shard.jobs(stage)], arguments))


def _header(session: SessionKeys) -> list[Argument]:
    return [SESSION_TTL_S, session.shard.prefix, session.session_id]


def _stage_header(shard: Shard) -> list[Argument]:
    return [SESSION_TTL_S, shard.prefix, ""]


def _messages(messages: Sequence[OutMessage | JobMessage]) -> list[Argument]:
    return [len(messages), *(encode(message) for message in messages)]


def _emission(owner: Ownership, emission: Emission) -> tuple[list[str], list[Argument]]:
    session = emission.session
    keys = [
        owner.shard.jobs(owner.stage),
        session.state,
        session.out,
        session.response(emission.response_id),
        owner.shard.jobs("tts"),
        session.items,
        session.order,
    ]
    progress = emission.progress
    arguments = [
        *_header(session),
        *owner.arguments,
        emission.response_id,
        *([progress.position, progress.text, progress.segments] if progress else ["", "", ""]),
        *_messages(emission.messages),
        *_messages(emission.jobs),
        2 * len(emission.begins),
        *(part for item in emission.begins for part in (item.item_id, encode(item))),
    ]
    return keys, arguments


def _status(reply: bytes) -> Status:
    return reply.decode()  # type: ignore[return-value]
