"""What the broker holds: of a session while it lives, and of all that should be gone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.broker import Pipe, connect
from shared.keys import GATEWAYS, WORKERS, AccessKeys, Keyspace
from shared.messages import Item, decode

_SCANNED = 1_000
_JOB_STAGES = ("stt", "llm", "tts")


class BrokerView:
    """Reads the broker of a system under test, waiting while it is away."""

    def __init__(self, pipe: Pipe, keyspace: Keyspace) -> None:
        self._pipe = pipe
        self._keyspace = keyspace

    async def history(self, session_id: str) -> list[Item]:
        """The session's conversation, oldest item first."""
        keys = self._keyspace.session(session_id)
        ids = await self._pipe.command("LRANGE", keys.order, 0, -1)
        if not ids:
            return []
        saved = await self._pipe.command("HMGET", keys.items, *ids)
        return [decode(data, Item) for data in saved if data is not None]

    async def keys(self) -> list[str]:
        """All keys but those that stay: lanes, streams of jobs, who is there, what was used."""
        found: set[str] = set()
        cursor = b"0"
        while True:
            cursor, keys = await self._pipe.command(
                "SCAN", cursor, "MATCH", "parley:*", "COUNT", _SCANNED
            )
            found.update(key.decode() for key in keys)
            if cursor == b"0":
                return sorted(found - self._lasting())

    def _lasting(self) -> set[str]:
        lasting = {WORKERS, GATEWAYS, AccessKeys("").usage}
        for lane in self._keyspace.all_lanes():
            lasting |= {lane.stream, lane.lease, lane.fence, lane.checkpoint}
        for shard in self._keyspace.all_shards():
            lasting |= {shard.dead, *(shard.jobs(stage) for stage in _JOB_STAGES)}
        return lasting

    async def left_behind(self) -> list[str]:
        """What sessions that are over have left, in words; nothing is as it should be."""
        left = await self.keys()
        for lane in self._keyspace.all_lanes():
            states = await self._pipe.command("HKEYS", lane.checkpoint)
            sessions = [state.decode() for state in states if state != b"@"]
            left += [f"the state of {session} at {lane.checkpoint}" for session in sessions]
        for shard in self._keyspace.all_shards():
            for stream in [*(shard.jobs(stage) for stage in _JOB_STAGES), shard.dead]:
                length = await self._pipe.command("XLEN", stream)
                left += [f"{length} entries of {stream}"] if length else []
        return left

    async def memory_bytes(self) -> int:
        """`used_memory` of the server."""
        info = await self._pipe.command("INFO", "memory")
        fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        return int(fields["used_memory"])

    async def key_count(self) -> int:
        """How many keys there are."""
        count: int = await self._pipe.command("DBSIZE")
        return count


@asynccontextmanager
async def viewing(url: str, keyspace: Keyspace) -> AsyncIterator[BrokerView]:
    """A view of the broker at `url`."""
    async with Pipe(connect(url)) as pipe:
        yield BrokerView(pipe, keyspace)
