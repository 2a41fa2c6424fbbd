"""Streams that are begun before anybody asks for them, because somebody probably will.

Whoever then asks takes over what there is of the stream and what is still to come. What nobody asks
for in time is closed: it cost some work in a slot that was free, and nothing else.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.metrics.work import MeasuredAhead

KEEP_S = 1.0
"""Longer than a silence that ends a turn usually goes on after its first 128 ms."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _End:
    """The end of a stream, in the place of an item."""


@dataclass(eq=False, slots=True)
class _Begun(Generic[T]):
    """A stream that runs into a buffer, and when it is given up."""

    items: asyncio.Queue[T | Exception | _End]
    pump: asyncio.Task[None]
    expiry: asyncio.TimerHandle
    session: str


@dataclass(eq=False, slots=True)
class Ahead(Generic[K, T]):
    """Streams by what they answer, in those of a worker's `slots` that no job needs.

    One that nobody asks for within `keep_s` is given up, even if it is complete; so is a session's,
    if it has one, when another is begun or asked for it.
    """

    slots: int
    measured: MeasuredAhead
    keep_s: float = KEEP_S
    _begun: dict[K, _Begun[T]] = field(default_factory=dict)
    _pumps: set[asyncio.Task[None]] = field(default_factory=set)
    _spent: list[asyncio.Timeout] = field(default_factory=list)
    _asked: int = 0

    def begin(
        self, key: K, stream: Callable[[], AsyncGenerator[T, None]], session: str = ""
    ) -> None:
        """Begins a stream if there is a slot for it, and none was begun with the same key."""
        self._supersede(session, key)
        if key in self._begun or self._taken >= self.slots:
            return
        items: asyncio.Queue[T | Exception | _End] = asyncio.Queue()
        pump = asyncio.create_task(_run(stream(), items), name="ahead")
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        expiry = asyncio.get_running_loop().call_later(self.keep_s, self._give_up, key)
        self._begun[key] = _Begun(items, pump, expiry, session)

    async def spend(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Does work that nobody will ask for, in a slot that is free, until it is done or a job
        begins, which it would slow down; whether it was done."""
        if self._taken >= self.slots:
            return False
        try:
            async with asyncio.timeout(None) as patience:
                self._spent.append(patience)
                try:
                    await work()
                finally:
                    if patience in self._spent:
                        self._spent.remove(patience)
        except TimeoutError:
            if not patience.expired():
                raise
            return False
        return True

    @asynccontextmanager
    async def asked(
        self, key: K, stream: Callable[[], AsyncGenerator[T, None]], session: str = ""
    ) -> AsyncIterator[AsyncIterator[T]]:
        """The stream that was begun for `key`, from its beginning on, else a new one; it is closed
        at the end of the block. Another that nobody asked for makes room for it."""
        if superseded := self._supersede(session, key):
            await asyncio.wait(superseded)  # a new one goes on where they stop
        begun = self._begun.pop(key, None)
        self._asked += 1
        try:
            if begun is not None:
                async with self._claimed(begun) as claimed:
                    yield claimed
            else:
                self._make_room()
                async with aclosing(stream()) as fresh:
                    yield fresh
        finally:
            self._asked -= 1

    async def close(self) -> None:
        """Closes what nobody has asked for, and waits until it is."""
        pumps = [begun.pump for begun in self._begun.values()]
        for key in list(self._begun):
            self._give_up(key)
        await asyncio.gather(*pumps, return_exceptions=True)

    @property
    def read_now(self) -> int:
        """How many streams somebody asked for and reads."""
        return self._asked

    @property
    def _taken(self) -> int:
        return self._asked + len(self._begun) + len(self._spent)

    def _supersede(self, session: str, key: K) -> set[asyncio.Task[None]]:
        """Gives up what was begun for a session with another key than this."""
        others = {
            other: begun.pump
            for other, begun in self._begun.items()
            if session and begun.session == session and other != key
        }
        for other in others:
            self._give_up(other)
        return set(others.values())

    def _make_room(self) -> None:
        while self._spent:
            self._spent.pop().reschedule(asyncio.get_running_loop().time())
        if self._begun and self._asked + len(self._begun) > self.slots:
            self._give_up(next(iter(self._begun)))

    @asynccontextmanager
    async def _claimed(self, begun: _Begun[T]) -> AsyncIterator[AsyncIterator[T]]:
        begun.expiry.cancel()
        self.measured.used()
        try:
            yield _read(begun.items)
        finally:
            begun.pump.cancel()
            await asyncio.wait({begun.pump})

    def _give_up(self, key: K) -> None:
        begun = self._begun.pop(key)
        begun.expiry.cancel()
        begun.pump.cancel()
        self.measured.unused()


async def _run(
    stream: AsyncGenerator[T, None], items: "asyncio.Queue[T | Exception | _End]"
) -> None:
    async with aclosing(stream):
        try:
            async for item in stream:
                items.put_nowait(item)
        except Exception as error:  # raised again where the stream is read
            items.put_nowait(error)
        else:
            items.put_nowait(_End())


async def _read(items: "asyncio.Queue[T | Exception | _End]") -> AsyncIterator[T]:
    while not isinstance(item := await items.get(), _End):
        if isinstance(item, Exception):
            raise item
        yield item
