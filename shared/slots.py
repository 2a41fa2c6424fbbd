"""What a worker does at once: so many jobs side by side, or one alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """The slots of one worker, shared by its consumers.

    A job takes a slot when it is fetched and begins in it. One read may bring more jobs than
    there are slots left by then; the last of them wait to begin.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._begun = 0
        self._wanted_empty: set[object] = set()
        self._change = asyncio.Event()
        self.alone = ""

    @property
    def free(self) -> int:
        """How many jobs may be fetched; none while one is alone or is about to be."""
        return 0 if self.alone or self._wanted_empty else max(self._size - self._taken, 0)

    @property
    def empty(self) -> bool:
        return self._taken == 0 and not self.alone

    def clear(self, consumer: object, wanted: bool) -> None:
        """Says whether a consumer waits for empty slots; nothing is fetched meanwhile."""
        if wanted:
            self._wanted_empty.add(consumer)
        else:
            self._wanted_empty.discard(consumer)

    def close(self, job: str) -> None:
        """Keeps every job but this one from beginning; for whoever found the slots empty."""
        self.alone = job

    def open(self) -> None:
        """Ends what `close` began."""
        self.alone = ""
        self.wake()

    def take(self) -> None:
        """Takes a slot, or waits in line for one."""
        self._taken += 1

    def release(self) -> None:
        """Gives back what `take` took."""
        self._taken -= 1
        self.wake()

    @asynccontextmanager
    async def begun(self, job: str) -> AsyncIterator[None]:
        """Begins a job as soon as it may."""
        while self.alone not in ("", job) or self._begun >= self._size:
            await self.changed()
        self._begun += 1
        try:
            yield
        finally:
            self._begun -= 1
            self.wake()

    async def changed(self) -> None:
        """Waits until a slot may have become free, or until woken."""
        await self._change.wait()

    def wake(self) -> None:
        """Makes whoever waits for a change look again."""
        self._change.set()
        self._change = asyncio.Event()
