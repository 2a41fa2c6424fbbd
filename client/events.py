"""What a server says: events, each of a class of its own where its type is known.

    match event:
        case OutputAudioDelta():
            play(event.audio)
        case ResponseDone(response=Response(status="completed")):
            ...

The classes have the fields of the protocol that a program goes by; `Event.fields` has all that
came. An event of a type that is not in `KINDS`, because a server is newer than its client, is a
plain `Event` and is read by the names of its fields.
"""

import base64
from typing import Any

import msgspec

from client.errors import ParleyError, ServerError
from client.objects import Item, Json, Part, Problem, Response
from shared.audio import Int16, pcm16


class Event(msgspec.Struct, frozen=True):
    """One server event: its `type`, and its `fields` as the protocol names them.

    `event["delta"]` reads a field and raises KeyError where the event has none.
    """

    type: str
    fields: Json

    @classmethod
    def parse(cls, message: str | bytes) -> "Event":
        """The event in a WebSocket message, of the class in `KINDS` for its type.

        Raises:
            ParleyError: not a JSON object with a `type`, or not what that type of event has.
        """
        try:
            fields = msgspec.json.decode(message)
            kind = KINDS.get(fields["type"], Event)
        except (ValueError, TypeError, KeyError) as error:
            raise ParleyError(
                f"the server must send JSON objects with a type, not {message[:60]!r}"
            ) from error
        try:
            return msgspec.convert({**fields, "fields": fields}, kind)
        except msgspec.ValidationError as error:
            raise ParleyError(
                f"the server must send {fields['type']} as the protocol has it: {error}"
            ) from error

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    @property
    def audio(self) -> Int16:
        """The audio of an `OutputAudioDelta`: int16 (n,) at 24 kHz."""
        return pcm16(base64.b64decode(self["delta"]))

    @property
    def response_id(self) -> str | None:
        """The response that the event belongs to or describes."""
        named: str | None = self.fields.get("response_id")
        return named or self.fields.get("response", {}).get("id")

    @property
    def error(self) -> ServerError | None:
        """An `ErrorEvent` as an exception; None for every other event."""
        if self.type != "error":
            return None
        error = self["error"]
        return ServerError(
            error["message"], error.get("code"), error.get("param"), error.get("event_id")
        )


class ErrorEvent(Event, frozen=True):
    """Something that the client asked for cannot be done; the session lives on."""

    problem: Problem = msgspec.field(name="error")


# --- the session ---


class SessionCreated(Event, frozen=True):
    """The first event of a session: its configuration."""

    session: Json


class SessionUpdated(Event, frozen=True):
    """The configuration as it is now."""

    session: Json


class SessionResumed(Event, frozen=True):
    """The connection is a new one, the session the same; what was missed follows."""

    requests: int
    audio_ms: int


class RateLimitsUpdated(Event, frozen=True):
    """What is left of what the client's key may ask for."""

    rate_limits: list[Json]


class Timings(Event, frozen=True):
    """When each stage of a turn was done: names to wall-clock ms (`?timings=true`)."""

    marks: dict[str, float]


# --- what the user says; positions are ms since the session's first sample ---


class SpeechStarted(Event, frozen=True):
    """The user began to speak; the item will hold it."""

    item_id: str
    audio_start_ms: int


class SpeechStopped(Event, frozen=True):
    """The user's turn ended."""

    item_id: str
    audio_end_ms: int


class TimeoutTriggered(Event, frozen=True):
    """The user said nothing for as long as `idle_timeout_ms`."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


class InputCommitted(Event, frozen=True):
    """The user's turn is an item of the conversation."""

    item_id: str
    previous_item_id: str | None = None


class InputCleared(Event, frozen=True):
    """The audio that was not part of a turn is gone."""


class InputTranscriptionDelta(Event, frozen=True):
    """More words of what the user said."""

    item_id: str
    content_index: int
    delta: str


class InputTranscriptionCompleted(Event, frozen=True):
    """What the user said, in words."""

    item_id: str
    content_index: int
    transcript: str


class InputTranscriptionFailed(Event, frozen=True):
    """What the user said could not be put in words."""

    item_id: str
    content_index: int
    problem: Problem = msgspec.field(name="error")


# --- the conversation ---


class ItemAdded(Event, frozen=True):
    """An item joins the conversation after another; an answer's is still empty."""

    item: Item
    previous_item_id: str | None = None


class ItemDone(Event, frozen=True):
    """An item of the conversation is whole."""

    item: Item
    previous_item_id: str | None = None


class ItemRetrieved(Event, frozen=True):
    """An item as it is now."""

    item: Item


class ItemDeleted(Event, frozen=True):
    """An item is gone."""

    item_id: str


class ItemTruncated(Event, frozen=True):
    """A spoken answer was cut to what was heard of it."""

    item_id: str
    content_index: int
    audio_end_ms: int


# --- responses ---


class ResponseCreated(Event, frozen=True):
    """The server begins to answer."""

    response: Response


class ResponseDone(Event, frozen=True):
    """An answer is over: everything of it has come."""

    response: Response


class OutputItemAdded(Event, frozen=True):
    """A response has one more item, a message or a function call."""

    response_id: str
    output_index: int
    item: Item


class OutputItemDone(Event, frozen=True):
    """An item of a response is whole."""

    response_id: str
    output_index: int
    item: Item


class _OfMessage(Event, frozen=True):
    """What belongs to a part of a response's message."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int


class ContentPartAdded(_OfMessage, frozen=True):
    """A message's part begins."""

    part: Part


class ContentPartDone(_OfMessage, frozen=True):
    """A message's part is whole."""

    part: Part


class OutputTextDelta(_OfMessage, frozen=True):
    """More words of a written answer."""

    delta: str


class OutputTextDone(_OfMessage, frozen=True):
    """The words of a written answer."""

    text: str


class OutputAudioDelta(_OfMessage, frozen=True):
    """More sound of an answer: `audio` has its samples, `delta` is base64."""

    delta: str


class OutputAudioDone(_OfMessage, frozen=True):
    """All sound of an answer has come."""


class OutputAudioTranscriptDelta(_OfMessage, frozen=True):
    """More words of a spoken answer."""

    delta: str


class OutputAudioTranscriptDone(_OfMessage, frozen=True):
    """The words of a spoken answer."""

    transcript: str


class OutputAudioBufferCleared(Event, frozen=True):
    """What was on its way to the loudspeaker is not sent any more."""


class _OfCall(Event, frozen=True):
    """What belongs to a function call."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str


class FunctionCallArgumentsDelta(_OfCall, frozen=True):
    """More of a call's arguments, in JSON."""

    delta: str


class FunctionCallArgumentsDone(_OfCall, frozen=True):
    """All of a call's arguments, in JSON."""

    name: str
    arguments: str


_TRANSCRIPTION = "conversation.item.input_audio_transcription"

KINDS: dict[str, type[Event]] = {
    "error": ErrorEvent,
    "session.created": SessionCreated,
    "session.updated": SessionUpdated,
    "parley.session.resumed": SessionResumed,
    "parley.timings": Timings,
    "rate_limits.updated": RateLimitsUpdated,
    "input_audio_buffer.speech_started": SpeechStarted,
    "input_audio_buffer.speech_stopped": SpeechStopped,
    "input_audio_buffer.timeout_triggered": TimeoutTriggered,
    "input_audio_buffer.committed": InputCommitted,
    "input_audio_buffer.cleared": InputCleared,
    f"{_TRANSCRIPTION}.delta": InputTranscriptionDelta,
    f"{_TRANSCRIPTION}.completed": InputTranscriptionCompleted,
    f"{_TRANSCRIPTION}.failed": InputTranscriptionFailed,
    "conversation.item.added": ItemAdded,
    "conversation.item.done": ItemDone,
    "conversation.item.retrieved": ItemRetrieved,
    "conversation.item.deleted": ItemDeleted,
    "conversation.item.truncated": ItemTruncated,
    "response.created": ResponseCreated,
    "response.done": ResponseDone,
    "response.output_item.added": OutputItemAdded,
    "response.output_item.done": OutputItemDone,
    "response.content_part.added": ContentPartAdded,
    "response.content_part.done": ContentPartDone,
    "response.output_text.delta": OutputTextDelta,
    "response.output_text.done": OutputTextDone,
    "response.output_audio.delta": OutputAudioDelta,
    "response.output_audio.done": OutputAudioDone,
    "response.output_audio_transcript.delta": OutputAudioTranscriptDelta,
    "response.output_audio_transcript.done": OutputAudioTranscriptDone,
    "output_audio_buffer.cleared": OutputAudioBufferCleared,
    "response.function_call_arguments.delta": FunctionCallArgumentsDelta,
    "response.function_call_arguments.done": FunctionCallArgumentsDone,
}
