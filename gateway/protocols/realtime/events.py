"""Server events in general."""

from typing import Any

Event = dict[str, Any]


def event(kind: str, **fields: Any) -> Event:
    """A server event; it gets its id when it is sent."""
    return {"type": kind, **fields}
