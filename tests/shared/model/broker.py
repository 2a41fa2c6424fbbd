"""Looking at everything a broker holds, in the form of an oracle's view."""

import asyncio

from shared.broker import Pipe, fields_of
from shared.keys import Lane
from tests.shared.model.state import STAGES, View


async def look(pipe: Pipe, lane: Lane) -> View:
    """Every key and its value, and each stage's pending list.

    Fails if a key has no bound: only streams that their writers trim do without an expiry.
    """
    trimmed = {lane.stream, lane.shard.dead, *map(lane.shard.jobs, STAGES)}
    keys = [key.decode() for key in await pipe.command("KEYS", "*")]
    values = await asyncio.gather(*(_value(pipe, key) for key in keys))
    ttls_s = await asyncio.gather(*(pipe.command("TTL", key) for key in keys))
    unbounded = {key for key, ttl_s in zip(keys, ttls_s, strict=True) if ttl_s < 0}
    assert unbounded <= trimmed
    view: View = dict(zip(keys, values, strict=True))
    for stage in STAGES:
        rows = await pipe.command("XPENDING", lane.shard.jobs(stage), stage, "-", "+", 1000)
        view[f"pending {stage}"] = {
            entry.decode(): (consumer.decode(), attempt) for entry, consumer, _, attempt in rows
        }
    return view


async def _value(pipe: Pipe, key: str) -> object:
    match await pipe.command("TYPE", key):
        case b"stream":
            rows = await pipe.command("XRANGE", key, "-", "+")
            return [(entry.decode(), fields_of(flat)) for entry, flat in rows]
        case b"hash":
            return fields_of(await pipe.command("HGETALL", key))
        case b"list":
            return await pipe.command("LRANGE", key, 0, -1)
        case kind:
            assert kind == b"string"
            return await pipe.command("GET", key)
