"""Looking at everything a broker holds, in the form of an oracle's view."""

import asyncio
from collections.abc import Sequence

from shared.broker import Argument, Pipe, Result, fields_of
from shared.keys import Lane
from tests.shared.model.state import STAGES, View

# What a session has by the broker's clock, which no oracle tells.
_CLOCKED = b"opened"


async def look(pipe: Pipe, lane: Lane) -> View:
    """Every key and its value, and each stage's pending list.

    Fails if a key has no bound: only streams that their writers trim do without an expiry.
    """
    trimmed = {lane.stream, lane.shard.dead, *map(lane.shard.jobs, STAGES)}
    keys = [key.decode() for key in await pipe.command("KEYS", "*")]
    pending = [("XPENDING", lane.shard.jobs(stage), stage, "-", "+", 1000) for stage in STAGES]
    values, ttls_s, rows = await asyncio.gather(
        _all(pipe, [_reading(key) for key in keys]),
        _all(pipe, [("TTL", key) for key in keys]),
        _all(pipe, pending),
    )
    assert {key for key, ttl_s in zip(keys, ttls_s, strict=True) if ttl_s < 0} <= trimmed
    view: View = {key: _plain(value, key) for key, value in zip(keys, values, strict=True)}
    for stage, found in zip(STAGES, rows, strict=True):
        view[f"pending {stage}"] = {
            entry.decode(): (consumer.decode(), attempt) for entry, consumer, _, attempt in found
        }
    return view


async def _all(pipe: Pipe, commands: Sequence[Sequence[Argument]]) -> list[Result]:
    return await asyncio.gather(*(pipe.command(*command) for command in commands))


def _kind(key: str) -> str:
    kind = key.split(":")[2]
    if key.endswith((":lease", ":fence")):
        return "string"
    if key.endswith(":checkpoint") or kind in ("session", "items", "response"):
        return "hash"
    return "list" if kind == "order" else "stream"


def _reading(key: str) -> tuple[Argument, ...]:
    return {
        "string": ("GET", key),
        "hash": ("HGETALL", key),
        "list": ("LRANGE", key, 0, -1),
        "stream": ("XRANGE", key, "-", "+"),
    }[_kind(key)]


def _plain(value: Result, key: str) -> object:
    match _kind(key):
        case "stream":
            return [(entry.decode(), fields_of(flat)) for entry, flat in value]
        case "hash":
            return {name: each for name, each in fields_of(value).items() if name != _CLOCKED}
        case _:
            return value
