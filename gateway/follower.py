"""Follows the output of this gateway's sessions.

Whoever appends to a session's output rings its gateway's doorbell, a channel. One subscription
for each process collects the rung sessions, and one pipeline reads them: neither connections nor
blocked reads grow with sessions, and a session is added or removed without touching a read that
waits. A bell may be lost with its connection, so everything is read again after a reconnect and,
slowly, all the time.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from redis.asyncio import Redis

from shared.broker import Fields, Pipe, fields_of, persist, published, stream_entries
from shared.keys import Keyspace, SessionKeys
from shared.logs import concerning
from shared.messages import Detached, MessageError, OutMessage, decode

_READ_ENTRIES = 256
_MOST_WAITING = 512  # messages
_SWEEP_S = 10.0

log = logging.getLogger(__name__)


class Inbox:
    """One session's output after entry `read`, as it comes.

    What a client is too slow to take stays in the broker, but for a bounded part of it.
    """

    def __init__(self, keys: SessionKeys, read: str, ring: Callable[[str], None]) -> None:
        self.keys = keys
        self.read = read
        self._ring = ring
        self._messages: asyncio.Queue[tuple[str, OutMessage]] = asyncio.Queue()
        self._full = False

    async def get(self) -> tuple[str, OutMessage]:
        """The next message and the entry that it is."""
        received = await self._messages.get()
        if self._full and self.waiting < _MOST_WAITING // 2:
            self._full = False
            self._ring(self.keys.session_id)
        return received

    def put(self, entry: str, message: OutMessage) -> None:
        """Adds the message at its end."""
        self._messages.put_nowait((entry, message))

    @property
    def waiting(self) -> int:
        """How many messages nobody has taken yet."""
        return self._messages.qsize()

    @property
    def full(self) -> bool:
        """Whether nothing more should be read before its reader has caught up."""
        self._full = self.waiting >= _MOST_WAITING
        return self._full


class Follower:
    """Delivers each session's output, in order, to the session's inbox."""

    def __init__(self, pipe: Pipe, subscriber: Redis, keyspace: Keyspace, gateway: str) -> None:
        self._pipe = pipe
        self._subscriber = subscriber
        self._bells = [shard.doorbell(gateway) for shard in keyspace.all_shards()]
        self._followed: dict[str, Inbox] = {}
        self._rung: set[str] = set()
        self._ringing = asyncio.Event()
        self.listening = asyncio.Event()

    def follow(self, keys: SessionKeys, read: str = "0-0") -> Inbox:
        """The session's output after entry `read`. Whoever followed it here before is told so."""
        before = self._followed.get(keys.session_id)
        if before is not None:
            before.put(before.read, Detached(attachment=""))
        inbox = self._followed[keys.session_id] = Inbox(keys, read, self._ring)
        self._ring(keys.session_id)
        return inbox

    def unfollow(self, inbox: Inbox) -> None:
        """Stops following what `inbox` is for, unless another one followed it."""
        if self._followed.get(inbox.keys.session_id) is inbox:
            del self._followed[inbox.keys.session_id]

    async def run(self) -> None:
        """Follows until cancelled, however long the broker may be away."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(persist(self._listen), name="doorbell")
            tasks.create_task(persist(self._deliver, after=self._ring_all), name="output reader")
            tasks.create_task(self._sweep(), name="sweep")

    async def output(self, keys: SessionKeys, until: str) -> list[tuple[str, OutMessage]]:
        """What the broker still holds of a session's output, up to entry `until`."""
        reply = await self._pipe.command("XRANGE", keys.out, "-", until)
        found = [_read_entry(keys, entry.decode(), fields_of(fields)) for entry, fields in reply]
        return [read for read in found if read is not None]

    def _ring_all(self) -> None:
        self._ring(*self._followed)

    def _ring(self, *session_ids: str) -> None:
        self._rung.update(session_ids)
        self._ringing.set()

    async def _listen(self) -> None:
        async with contextlib.aclosing(published(self._subscriber, self._bells)) as messages:
            async for message in messages:
                if message["type"] == "subscribe":  # at first, and after every reconnect
                    self.listening.set()
                    self._ring_all()
                else:
                    self._ring(message["data"].decode())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._ring_all()

    async def _deliver(self) -> None:
        while True:
            await self._ringing.wait()
            self._ringing.clear()
            rung, self._rung = self._rung, set()
            sessions = [self._followed[sid] for sid in rung if sid in self._followed]
            await asyncio.gather(*(self._read(session) for session in sessions))

    async def _read(self, inbox: Inbox) -> None:
        if inbox.full:
            return
        reply = await self._pipe.command(
            "XREAD", "COUNT", _READ_ENTRIES, "STREAMS", inbox.keys.out, inbox.read
        )
        for _, entries in stream_entries(reply):
            for entry, fields in entries:
                inbox.read = entry
                if found := _read_entry(inbox.keys, entry, fields):
                    inbox.put(*found)
            if len(entries) == _READ_ENTRIES:
                self._ring(inbox.keys.session_id)


def _read_entry(keys: SessionKeys, entry: str, fields: Fields) -> tuple[str, OutMessage] | None:
    try:
        return entry, decode(fields[b"m"], OutMessage)  # type: ignore[arg-type]
    except (MessageError, KeyError) as error:
        with concerning(session_id=keys.session_id):
            log.error("output %s was skipped: %s", entry, error)
        return None
