"""Work that threads want done, done together."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Batches(Generic[In, Out]):
    """Gathers what threads ask for while a batch is at work into the next one.

    There is no thread of its own: whoever comes first works for all that wait. Nobody waits for a
    batch to fill.
    """

    def __init__(self, work: Callable[[Sequence[In]], Sequence[Out]], most: int) -> None:
        """`work` makes an output of each input; it is given `most` inputs at a time, or fewer."""
        self._work = work
        self._most = most
        self._waiting: deque[tuple[In, Future[Out]]] = deque()
        self._working = threading.Lock()

    def run(self, wanted: In) -> Out:
        """The output for `wanted`; blocks. What `work` raises reaches everyone in its batch."""
        result: Future[Out] = Future()
        self._waiting.append((wanted, result))
        while not result.done():
            with self._working:
                # Whoever held the lock before may have done this thread's part.
                if not result.done():
                    self._next_batch()
        return result.result()

    def _next_batch(self) -> None:
        number = min(len(self._waiting), self._most)
        batch = [self._waiting.popleft() for _ in range(number)]
        try:
            outputs = self._work([wanted for wanted, _ in batch])
        except Exception as error:
            for _, result in batch:
                result.set_exception(error)
            return
        for (_, result), output in zip(batch, outputs, strict=True):
            result.set_result(output)
