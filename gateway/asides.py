"""Responses aside of the conversation, on their way to the client.

They are not played to anybody, as far as the server knows: what comes of them goes out at once,
the audio of their segments in order. So what a client was shown of them follows from the output
alone, which is how a gateway goes on where another left off. No I/O.
"""

from gateway.answer import Answer, Status
from gateway.happenings import AudioOut, ClientEvent, ResponseEnded
from gateway.playout import PlayoutError
from shared.audio import AudioError
from shared.messages import (
    AudioChunk,
    Interrupted,
    OutMessage,
    ResponseCreated,
    ResponseFailed,
    TextDelta,
    TextDone,
)

# As far ahead of anybody's playing as can be.
_AHEAD_S = 1e6


class Asides:
    """The responses aside that are active, by their ids."""

    def __init__(self) -> None:
        self._active: dict[str, Answer] = {}

    def __contains__(self, response_id: str) -> bool:
        return response_id in self._active

    def get(self, response_id: str, otherwise: Answer | None) -> Answer | None:
        """The response aside of that id, or else the other one."""
        return self._active.get(response_id, otherwise)

    def concern(self, message: OutMessage) -> bool:
        """Whether a message is for a response aside."""
        match message:
            case ResponseCreated():
                return message.aside
            case TextDelta() | TextDone() | AudioChunk() | ResponseFailed() | Interrupted():
                return message.response_id in self
        return False

    def take(self, message: OutMessage) -> list[ClientEvent] | None:
        """What the client is shown of a message; None if it is for no response aside."""
        if not self.concern(message):
            return None
        match message:
            case ResponseCreated():
                return self._begin(message)
            case Interrupted():
                return self._end(message.response_id, "cancelled", message.reason)
            case ResponseFailed():
                return self._end(message.response_id, "failed", message.message)
            case TextDelta() | TextDone() | AudioChunk():
                return self._go_on(message)
        raise TypeError(f"no response aside takes a {type(message).__name__}")

    def _begin(self, created: ResponseCreated) -> list[ClientEvent]:
        if created.response_id in self:
            return []  # a broker that fell back by a moment has its work done again
        self._active[created.response_id] = Answer.begun(created, _AHEAD_S)
        return [created]

    def _go_on(self, message: TextDelta | TextDone | AudioChunk) -> list[ClientEvent]:
        answer = self._active[message.response_id]
        try:
            fresh = answer.add(message)
        except (PlayoutError, AudioError) as error:
            return self._end(message.response_id, "failed", f"a part of it was lost: {error}")
        events: list[ClientEvent] = [] if fresh is None else [fresh]
        events += [AudioOut(answer, samples, sent) for samples, sent in answer.due(0.0)]
        if answer.finished:
            events += self._end(message.response_id, answer.natural_end)
        return events

    def _end(self, response_id: str, status: Status, reason: str = "") -> list[ClientEvent]:
        answer = self._active.pop(response_id, None)
        return [] if answer is None else [ResponseEnded(answer, status, answer.whole(), reason)]
