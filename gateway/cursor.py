"""Where a client stands in its session's output, written into the ids of its events.

A client that lost its connection names the last event it received; whichever gateway it finds can
read from that id alone what it has and what it missed. No I/O.
"""

import re
from dataclasses import dataclass

_FORM = re.compile(r"event_(\d{1,19}-\d{1,19})((?:_\d{1,15}){5})", re.ASCII)


@dataclass(slots=True)
class Cursor:
    """A place in a session's output.

    `entry` is the last entry of the output that was taken in, `shown` how many events of it the
    client was shown; `samples` is how much audio of the response at hand went out, `closing` how
    many events of that response's end were shown. `requests` is how many of the client's requests
    were carried out or refused, `events` how many events there were in all.
    """

    entry: str = "0-0"
    shown: int = 0
    samples: int = 0
    closing: int = 0
    requests: int = 0
    events: int = 0

    def __str__(self) -> str:
        counts = (self.shown, self.samples, self.closing, self.requests, self.events)
        return "_".join(("event", self.entry, *map(str, counts)))

    @classmethod
    def parse(cls, event_id: str) -> "Cursor":
        """The place that an event's id names.

        Raises:
            ValueError: not an id that a gateway has given to an event.
        """
        found = _FORM.fullmatch(event_id)
        if found is None:
            raise ValueError(f"after must be the id of an event of this session, not {event_id!r}")
        return cls(found[1], *map(int, found[2][1:].split("_")))

    @property
    def order(self) -> tuple[int, int]:
        """The entry as numbers, which compare as entries follow each other."""
        milliseconds, _, sequence = self.entry.partition("-")
        return int(milliseconds), int(sequence)

    def take_in(self, entry: str) -> None:
        """Moves on to `entry`, of which nothing was shown yet."""
        if entry != self.entry:
            self.entry, self.shown = entry, 0

    def begin_response(self) -> None:
        """A new response is at hand."""
        self.samples = self.closing = 0
