"""What a run has thrown, and what was wrong with what came of it. No I/O."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.fuzz.frames import Frame

_SHOWN = 400
_TOLD = 3
_REMEMBERED = 200


@dataclass
class Tally:
    """Counts frames; `tell` gets a line for everything that is wrong."""

    tell: Callable[[str], None]
    thrown: Counter[str] = field(default_factory=Counter)
    """Frames by how they came about."""
    malformed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Errors by their code, and closed connections by the code of the close."""
    connections: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    ids: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """Of items and responses that were seen by those who throw, for others of them to name."""
    neighbours_ids: Callable[[], list[str]] = list
    """Of items, responses and sessions that neighbours have now."""

    @property
    def known(self) -> list[str]:
        """All ids that may be named."""
        return [*self.ids, *self.neighbours_ids()]

    def throw(self, frame: Frame) -> None:
        """Counts a frame that is thrown."""
        self.thrown[frame.kind] += 1
        self.malformed += frame.malformed

    def wrong(self, what: str, details: str = "", data: str | bytes = "") -> None:
        """Something was wrong, after this frame if it was one's; told a few times of its kind."""
        self.problems[what] += 1
        if self.problems[what] <= _TOLD:
            rest = f" (of {len(data)})" if len(data) > _SHOWN else ""
            after = f", after {data[:_SHOWN]!r}{rest}" if data else ""
            self.tell(f"{what}: {details[:_SHOWN]}{after}")
