"""Which of llama.cpp's slots reads a conversation."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from workers.llm.engines import Message


@dataclass(eq=False, slots=True)
class _Slot:
    number: int
    read: Sequence[Message]
    soon_free: Callable[[], bool] = lambda: False


class SlotChoice:
    """Gives each conversation the slot that has read the most of it.

    Of slots that have read as much, it is the one that was left longest ago: conversations that
    begin with the same instructions spread over all of them. A slot that is soon free is waited for
    if no free one has read as much, which costs less than to read it twice: one that only reads, or
    whose answer was cancelled. Every slot has `read` something when it is new. Threads may share
    it.
    """

    def __init__(self, slots: int, read: Sequence[Message] = ()) -> None:
        self._free = [_Slot(number, read) for number in range(slots)]
        self._taken: list[_Slot] = []
        self._changed = threading.Condition()

    @contextmanager
    def taken(
        self,
        messages: Sequence[Message],
        *,
        reading: bool = False,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[int | None]:
        """The number of a slot that nobody else has meanwhile, `reading` if no answer follows.

        One must be free. None if it was `cancelled` while it waited; whoever cancels calls `look`.
        """
        slot = self._take(messages, reading, cancelled)
        if slot is None:
            yield None
            return
        try:
            yield slot.number
        finally:
            with self._changed:
                self._taken.remove(slot)
                self._free.append(slot)
                self._changed.notify_all()

    def look(self) -> None:
        """Has those who wait see what was cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _take(
        self, messages: Sequence[Message], reading: bool, cancelled: Callable[[], bool]
    ) -> _Slot | None:
        with self._changed:
            while (slot := self._best(messages)) in self._taken:
                if cancelled():
                    return None
                self._changed.wait()
            self._free.remove(slot)
            self._taken.append(slot)
            slot.read = messages
            slot.soon_free = lambda: reading or cancelled()
            return slot

    def _best(self, messages: Sequence[Message]) -> _Slot:
        soon = [slot for slot in self._taken if slot.soon_free()]
        return max([*self._free, *soon], key=lambda slot: _alike(slot.read, messages))


def _alike(read: Sequence[Message], messages: Sequence[Message]) -> int:
    """How much of `messages` was read, from its beginning on, in characters: whole messages, and
    one that goes on where it ended. Words with which any two may begin do not make them alike."""
    alike = 0
    for one, other in zip(read, messages, strict=False):
        if one.role != other.role or not other.content.startswith(one.content):
            break
        alike += 1 + len(one.content)
        if one != other:
            break
    return alike
