"""Follows the output of this gateway's sessions.

Whoever appends to a session's output rings its gateway's doorbell, a channel. One subscription
for each process collects the rung sessions, and one pipeline reads them: neither connections nor
blocked reads grow with sessions, and a session is added or removed without touching a read that
waits. A bell may be lost with its connection, so everything is read again after a reconnect and,
slowly, all the time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.broker import BLOCK_MS, Pipe, stream_entries
from shared.keys import Keyspace, SessionKeys
from shared.messages import MessageError, OutMessage, decode

_READ_ENTRIES = 256
_SWEEP_S = 10.0
_RETRY_S = 1.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Followed:
    """A session being followed: `read` is the last entry delivered."""

    keys: SessionKeys
    read: str
    messages: asyncio.Queue[OutMessage] = field(default_factory=asyncio.Queue)


class Follower:
    """Delivers each session's output, in order, to the session's queue."""

    def __init__(self, pipe: Pipe, subscriber: Redis, keyspace: Keyspace, gateway: str) -> None:
        self._pipe = pipe
        self._subscriber = subscriber
        self._bells = [shard.doorbell(gateway) for shard in keyspace.all_shards()]
        self._followed: dict[str, _Followed] = {}
        self._rung: set[str] = set()
        self._ringing = asyncio.Event()
        self.listening = asyncio.Event()

    def follow(self, keys: SessionKeys, read: str = "0-0") -> asyncio.Queue[OutMessage]:
        """The session's output after entry `read`, as it comes."""
        followed = _Followed(keys, read)
        self._followed[keys.session_id] = followed
        self._ring(keys.session_id)
        return followed.messages

    def unfollow(self, session_id: str) -> None:
        """Stops following the session."""
        self._followed.pop(session_id, None)

    async def run(self) -> None:
        """Follows until cancelled, however long the broker may be away."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._persist(self._listen), name="doorbell")
            tasks.create_task(self._persist(self._deliver), name="output reader")
            tasks.create_task(self._sweep(), name="sweep")

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except RedisError as error:
                log.error("the sessions' output cannot be read: %s", error)
                await asyncio.sleep(_RETRY_S)
                self._ring(*self._followed)

    def _ring(self, *session_ids: str) -> None:
        self._rung.update(session_ids)
        self._ringing.set()

    async def _listen(self) -> None:
        async with self._subscriber.pubsub() as subscription:
            await subscription.subscribe(*self._bells)
            while True:
                message = await subscription.get_message(timeout=BLOCK_MS / 1000)
                if message is None:
                    continue
                if message["type"] == "subscribe":  # at first, and after every reconnect
                    self.listening.set()
                    self._ring(*self._followed)
                else:
                    self._ring(message["data"].decode())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._ring(*self._followed)

    async def _deliver(self) -> None:
        while True:
            await self._ringing.wait()
            self._ringing.clear()
            rung, self._rung = self._rung, set()
            sessions = [self._followed[sid] for sid in rung if sid in self._followed]
            await asyncio.gather(*(self._read(session) for session in sessions))

    async def _read(self, session: _Followed) -> None:
        out = session.keys.out
        reply = await self._pipe.command(
            "XREAD", "COUNT", _READ_ENTRIES, "STREAMS", out, session.read
        )
        for _, entries in stream_entries(reply):
            for entry, fields in entries:
                session.read = entry
                try:
                    session.messages.put_nowait(decode(fields[b"m"], OutMessage))  # type: ignore[arg-type]
                except (MessageError, KeyError) as error:
                    log.error("output %s was skipped: %s", entry, error)
            if len(entries) == _READ_ENTRIES:
                self._ring(session.keys.session_id)
