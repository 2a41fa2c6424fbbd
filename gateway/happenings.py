"""What happens in a session, as its client's protocol is told of it."""

from dataclasses import dataclass
from typing import TypeVar

from gateway.answer import Answer, Status
from shared.audio import Int16
from shared.messages import OutMessage


@dataclass(frozen=True, slots=True)
class AudioOut:
    """Audio to play now: int16 at the session's output rate; with it `sent` samples went out."""

    answer: Answer
    samples: Int16
    sent: int


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """A response is over; `text` is what the client got of it."""

    answer: Answer
    status: Status
    text: str
    reason: str = ""


ClientEvent = OutMessage | AudioOut | ResponseEnded
Reply = TypeVar("Reply", bound=str)


class SessionEnded(Exception):
    """The session is over."""


class TakenOver(SessionEnded):
    """Another connection of the client's goes on with the session."""


def still_ours(status: Reply) -> Reply:
    """The status of a script.

    Raises:
        SessionEnded: the session has ended, or is another connection's.
    """
    if status == "gone":
        raise SessionEnded("the session has expired")
    if status == "detached":
        raise TakenOver("another connection has taken the session over")
    return status
