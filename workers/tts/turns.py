"""Who speaks next, where more segments are to be spoken than the engine speaks at once.

A segment is spoken step by step, and takes a turn for each. An answer's first segment comes before
all others until it begins to be heard, because somebody waits in silence for it; then sessions take
turns, and a session's segments follow each other as they were asked for.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from shared.metrics.work import BATCH

_BATCH = BATCH.labels("tts")

# Of sessions served longer ago than those, all count as served equally long ago.
_REMEMBERED = 256


@dataclass(eq=False, slots=True)
class Segment:
    """A segment in the line; `waited_for` until the first of it is spoken, if nothing of its answer
    was."""

    session_id: str
    waited_for: bool = False
    number: int = 0


@dataclass(slots=True)
class Line:
    """The segments that wait for a turn. Pure."""

    _waiting: list[Segment] = field(default_factory=list)
    _served: dict[str, int] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def join(self, segment: Segment) -> None:
        """Waits for a turn. Its place among its session's is that of the first time."""
        segment.number = segment.number or next(self._numbers)
        self._waiting.append(segment)

    def leave(self, segment: Segment) -> None:
        """Waits no more, if it did."""
        if segment in self._waiting:
            self._waiting.remove(segment)

    def call(self) -> Segment | None:
        """Takes out of the line whose turn it is; None if nobody waits."""
        if not self._waiting:
            return None
        called = min(self._waiting, key=self._place)
        self._waiting.remove(called)
        self._served.pop(called.session_id, None)
        self._served[called.session_id] = next(self._numbers)
        if len(self._served) > _REMEMBERED:
            del self._served[next(iter(self._served))]
        return called

    def _place(self, segment: Segment) -> tuple[bool, int, int]:
        served = self._served.get(segment.session_id, 0)
        return (not segment.waited_for, served, segment.number)


class Turns:
    """So many turns at once, given as a `Line` calls."""

    def __init__(self, at_once: int) -> None:
        self._at_once = self._free = at_once
        self._line = Line()
        self._called: dict[Segment, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def turn(self, segment: Segment) -> AsyncIterator[None]:
        """Waits for a turn, and has it until the end of the block."""
        await self._wait(segment)
        try:
            yield
        finally:
            segment.waited_for = False
            self._free += 1
            self._call()

    async def _wait(self, segment: Segment) -> None:
        called = self._called[segment] = asyncio.get_running_loop().create_future()
        self._line.join(segment)
        self._call()
        try:
            await called
        except asyncio.CancelledError:
            if called.cancelled():
                self._line.leave(segment)
            else:  # called just then
                self._free += 1
                self._call()
            raise
        finally:
            del self._called[segment]

    def _call(self) -> None:
        while self._free and (segment := self._line.call()) is not None:
            called = self._called[segment]
            if not called.cancelled():  # else it is about to leave
                self._free -= 1
                _BATCH.observe(self._at_once - self._free)
                called.set_result(None)
