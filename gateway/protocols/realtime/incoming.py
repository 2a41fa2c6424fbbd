"""What a client sends: JSON, checked against the types of the official `openai` package."""

import base64
import binascii
from typing import Any

import msgspec
import pydantic
from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)

ClientEvent = (
    SessionUpdateEvent
    | InputAudioBufferAppendEvent
    | InputAudioBufferCommitEvent
    | InputAudioBufferClearEvent
    | ConversationItemCreateEvent
    | ConversationItemTruncateEvent
    | ResponseCreateEvent
    | ResponseCancelEvent
)

_MODELS: dict[str, type[pydantic.BaseModel]] = {
    "session.update": SessionUpdateEvent,
    "input_audio_buffer.append": InputAudioBufferAppendEvent,
    "input_audio_buffer.commit": InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": InputAudioBufferClearEvent,
    "conversation.item.create": ConversationItemCreateEvent,
    "conversation.item.truncate": ConversationItemTruncateEvent,
    "response.create": ResponseCreateEvent,
    "response.cancel": ResponseCancelEvent,
}


class ProtocolError(Exception):
    """What a client sent cannot be done: `message` says why in a sentence, `param` names the
    field, `code` is the protocol's own where it has one."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_value",
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.event_id = event_id


def parse(data: str | bytes) -> ClientEvent:
    """The client event in `data`.

    Raises:
        ProtocolError: not a JSON object, an unknown event, or a field that is missing or wrong.
    """
    try:
        fields = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"the event is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise ProtocolError("an event must be a JSON object with a type")
    event_id = fields.get("event_id")
    event_id = event_id if isinstance(event_id, str) else None
    kind = fields.get("type")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        known = ", ".join(sorted(_MODELS))
        raise ProtocolError(
            f"type must be one of {known}", code="unknown_event", param="type", event_id=event_id
        )
    try:
        return model.model_validate(_with_session_type(fields))  # type: ignore[return-value]
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False)[0]
        param = ".".join(_path(problem["loc"])) or None
        raise ProtocolError(
            f"{param or 'event'}: {problem['msg']}", param=param, event_id=event_id
        ) from error


def _with_session_type(fields: dict[str, Any]) -> dict[str, Any]:
    """Clients older than transcription sessions send no `session.type`."""
    session = fields.get("session")
    if isinstance(session, dict) and "type" not in session:
        return {**fields, "session": {**session, "type": "realtime"}}
    return fields


def _path(location: tuple[int | str, ...]) -> list[str]:
    """The field's path without the names of the union members that pydantic tried."""
    return [str(part) for part in location if not (isinstance(part, str) and part[:1].isupper())]


def audio_bytes(event: InputAudioBufferAppendEvent) -> bytes:
    """The audio of an append.

    Raises:
        ProtocolError: `audio` is not base64.
    """
    try:
        return base64.b64decode(event.audio, validate=True)
    except binascii.Error as error:
        raise ProtocolError(
            f"audio must be base64: {error}", param="audio", event_id=event.event_id
        ) from error
