"""What a gateway that goes on with a session takes from its output: where the response stands.

Pure: the output up to the client's cursor is followed in silence, as the gateway before did it
aloud, and what that one left half shown is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.answer import Answer, Status
from gateway.asides import Asides
from gateway.cursor import Cursor
from gateway.happenings import ResponseEnded
from shared.messages import (
    AudioChunk,
    Interrupted,
    OutMessage,
    ResponseCreated,
    ResponseFailed,
    TextDelta,
    TextDone,
    Truncated,
)

Output = Sequence[tuple[str, OutMessage]]
"""Entries of a session's output with their ids."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the response at hand ended; the client may have been shown a part of that."""

    status: Status
    reason: str = ""


@dataclass(slots=True)
class Restored:
    """Where a session stands: the response at hand, how it was created, its end if it has one, the
    responses aside and how they were created, and what was new in the message taken in last. Of
    the end and of that message the client has seen a part, or all.
    """

    answer: Answer | None = None
    created: ResponseCreated | None = None
    ending: Ending | None = None
    asides: Asides = field(default_factory=Asides)
    begun: dict[str, ResponseCreated] = field(default_factory=dict)
    last: OutMessage | None = None


def restore(output: Output, cursor: Cursor, lead_s: float) -> Restored:
    """Follows `output`, which goes up to the cursor's entry.

    Raises:
        PlayoutError: the output has a gap.
        AudioError: audio that is not PCM16.
    """
    restored = Restored()
    for entry, message in output:
        if restored.ending is not None:  # that end was shown before this entry was taken in
            restored.answer = restored.ending = None
        last = entry == cursor.entry
        if not restored.asides.concern(message):
            fresh = _follow(restored, message, lead_s)
            restored.last = fresh if last else None
        elif last:
            restored.last = message
        else:
            restored.last = None
            _follow_aside(restored, message)
    answer = restored.answer
    if answer is None:
        return restored
    if cursor.closing and restored.ending is None:
        restored.ending = Ending(answer.natural_end)
    answer.playout.skip(cursor.samples)
    return restored


def _follow_aside(restored: Restored, message: OutMessage) -> None:
    if isinstance(message, ResponseCreated):
        restored.begun[message.response_id] = message
    for event in restored.asides.take(message) or []:
        if isinstance(event, ResponseEnded):
            del restored.begun[event.answer.response_id]


def _follow(restored: Restored, message: OutMessage, lead_s: float) -> OutMessage | None:
    """Takes in a message of the conversation; returns what of it was new."""
    answer = restored.answer
    match message:
        case ResponseCreated():
            if answer is not None and answer.response_id == message.response_id:
                return None
            restored.answer = Answer.begun(message, lead_s)
            restored.created = message
        case Interrupted() if answer and message.response_id in ("", answer.response_id):
            restored.ending = Ending("cancelled", message.reason)
        case ResponseFailed() if answer and answer.response_id == message.response_id:
            restored.ending = Ending("failed", message.message)
        case Truncated() if answer and answer.item_id == message.item_id:
            answer.cut_at_ms = message.audio_end_ms
        case TextDelta() | TextDone() | AudioChunk():
            ours = answer if answer and answer.response_id == message.response_id else None
            return ours.add(message) if ours else None
    return message
