"""Typed wrappers of the scripts that a lane's owner runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.broker import Argument, Pipe
from shared.keys import Lane, SessionKeys
from shared.messages import Interrupted, Item, OutMessage, SttJob, encode
from shared.scripts import SESSION_TTL_S

KEEP_S = 24 * 3600
"""How long a lane's fence and checkpoint outlive its last owner."""

CHECKPOINT_ENTRY = b"@"
"""Field of the checkpoint that holds the entry to replay from; the others are sessions."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a lane's owner heard in one session, number `seq` of that session's events."""

    session: SessionKeys
    seq: int
    state: bytes
    messages: Sequence[OutMessage]
    interrupts: bool = False
    item: Item | None = None
    job: SttJob | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """A session's state after its event number `seq` and before the next."""

    seq: int
    state: bytes


async def acquire_lane(pipe: Pipe, lane: Lane, owner: str, lease_ms: int) -> int:
    """Takes `lane` if it is free; returns the fencing token, or 0."""
    keys = [lane.lease, lane.fence, lane.checkpoint]
    return int(await pipe.script("acquire_lane", keys, [*_header(lane), owner, lease_ms, KEEP_S]))


async def hold_lane(
    pipe: Pipe, lane: Lane, owner: str, token: int, lease_ms: int
) -> Literal["ok", "lost"]:
    """Renews the lease on `lane`, or with `lease_ms` 0 gives it up."""
    arguments = [*_header(lane), owner, token, lease_ms, KEEP_S]
    reply = await pipe.script("hold_lane", [lane.lease, lane.fence], arguments)
    return reply.decode()  # type: ignore[no-any-return]


async def emit_lane(
    pipe: Pipe, lane: Lane, token: int, heard: Heard
) -> Literal["ok", "fenced", "repeat", "gone"]:
    """Emits what was heard, unless the lane has another owner or a predecessor emitted it."""
    session = heard.session
    keys = [
        lane.fence,
        lane.checkpoint,
        session.state,
        session.out,
        lane.shard.jobs("stt"),
        session.items,
        session.order,
    ]
    arguments = [
        SESSION_TTL_S,
        lane.shard.prefix,
        session.session_id,
        token,
        KEEP_S,
        heard.seq,
        heard.state,
        len(heard.messages),
        *(encode(message) for message in heard.messages),
        "1" if heard.interrupts else "0",
        encode(Interrupted(reason="turn_detected")),
        *([heard.item.item_id, encode(heard.item)] if heard.item else ["", ""]),
        *([1, encode(heard.job)] if heard.job else [0]),
    ]
    return (await pipe.script("emit_lane", keys, arguments)).decode()  # type: ignore[no-any-return]


async def checkpoint_lane(
    pipe: Pipe,
    lane: Lane,
    token: int,
    entry: str,
    states: Mapping[str, Saved],
    ended: Sequence[str],
) -> Literal["ok", "fenced"]:
    """Moves the checkpoint to `entry`; `states` are the sessions' own at or after it.

    Nothing is taken back: neither the checkpoint nor a state that was emitted since.
    """
    saved: list[Argument] = []
    for session_id, at in states.items():
        saved += [session_id, at.seq, at.state]
    arguments = [*_header(lane), token, entry, KEEP_S, len(ended), *ended, len(saved), *saved]
    keys = [lane.fence, lane.checkpoint, lane.stream]
    return (await pipe.script("checkpoint_lane", keys, arguments)).decode()  # type: ignore[no-any-return]


def _header(lane: Lane) -> list[Argument]:
    return [SESSION_TTL_S, lane.shard.prefix, ""]
