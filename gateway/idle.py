"""When a user who says nothing is answered all the same. Pure: whoever calls brings the time."""

from dataclasses import dataclass


@dataclass(slots=True)
class Idle:
    """Waits for the user after an answer was played out.

    Times are seconds of any clock that does not go back.
    """

    _from_s: float | None = None

    def begin(self, from_s: float) -> None:
        """The answer will be over at `from_s`."""
        self._from_s = from_s

    def end(self) -> None:
        """Somebody speaks, or is about to."""
        self._from_s = None

    def due_at_s(self, timeout_ms: int | None) -> float | None:
        """When the user has been silent for too long; None while nobody waits for them."""
        if self._from_s is None or timeout_ms is None:
            return None
        return self._from_s + timeout_ms / 1000

    def take(self, now_s: float, timeout_ms: int) -> bool:
        """Whether the user has been silent for too long; true once."""
        due_at_s = self.due_at_s(timeout_ms)
        if due_at_s is None or now_s < due_at_s:
            return False
        self._from_s = None
        return True
