"""Parley's extension of the protocol: a client that was cut off goes on with its session.

`docs/resuming.md` describes it for authors of clients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.hub import RESUME_WITHIN_S, Resumed
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.events import Event, event
from gateway.session import Session

_SUBPROTOCOL = "parley-resume."


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a client shows to go on with a session."""

    session_id: str
    token: str = field(repr=False)


def ticket(subprotocols: Sequence[str]) -> Ticket | None:
    """The ticket among the WebSocket subprotocols that a client offers.

    It is there because a browser can set no header, and because an address is written to logs.
    """
    for offered in subprotocols:
        if offered.startswith(_SUBPROTOCOL):
            session_id, _, token = offered.removeprefix(_SUBPROTOCOL).partition(".")
            return Ticket(session_id, token)
    return None


def session_event(kind: str, session: Session, shown: dict[str, Any]) -> Event:
    """An event that shows the session, whose configuration is `shown`."""
    return event(kind, session={"id": session.keys.session_id, **shown})


def created(session: Session, configuration: Configuration, token: str) -> Event:
    """A session begins; with `token` it can be resumed."""
    greeting = session_event("session.created", session, configuration.shown)
    greeting["session"]["parley"] = {"resume": {"token": token, "within_s": RESUME_WITHIN_S}}
    return greeting


def resumed(session: Session, configuration: Configuration, state: Resumed) -> Event:
    """The session goes on; the client sends again what is not in it."""
    greeting = session_event("parley.session.resumed", session, configuration.shown)
    return {**greeting, "requests": state.requests, "audio_ms": state.audio_ms}
