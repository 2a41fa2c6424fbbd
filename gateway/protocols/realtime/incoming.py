"""What a client sends: JSON, checked against the types of the official `openai` package.

The check is strict: a string is no number, and a field that the protocol does not have is an
error, so that a misspelt one is not taken for a wish granted.
"""

import base64
from collections import Counter
from typing import Any, Literal

import pydantic
import pydantic_core
from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    RealtimeSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)

from shared.ids import new_id
from shared.messages import Item


class RealtimeSession(RealtimeSessionCreateRequest):
    """A session that talks. Clients older than transcription sessions send no type."""

    type: Literal["realtime"] = "realtime"


class SessionUpdate(SessionUpdateEvent):
    """An update of a session that talks."""

    session: RealtimeSession


ClientEvent = (
    SessionUpdate
    | InputAudioBufferAppendEvent
    | InputAudioBufferCommitEvent
    | InputAudioBufferClearEvent
    | ConversationItemCreateEvent
    | ConversationItemTruncateEvent
    | ResponseCreateEvent
    | ResponseCancelEvent
)

_MODELS: dict[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": InputAudioBufferAppendEvent,
    "input_audio_buffer.commit": InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": InputAudioBufferClearEvent,
    "conversation.item.create": ConversationItemCreateEvent,
    "conversation.item.truncate": ConversationItemTruncateEvent,
    "response.create": ResponseCreateEvent,
    "response.cancel": ResponseCancelEvent,
}

_LONGEST_TEXT = 32_768

# Which field of a content part holds its words.
_WORDS = {
    "input_text": "text",
    "output_text": "text",
    "input_audio": "transcript",
    "output_audio": "transcript",
}

_CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


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


def parse(text: str) -> ClientEvent:
    """The client event in `text`.

    Raises:
        ProtocolError: not a JSON object, an unknown event, or a field that is missing, unknown
            or wrong.
    """
    try:
        fields = pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as error:
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
        return model.model_validate_json(text, strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        problem = _explained([_Problem(found, fields) for found in error.errors()])
        problem.event_id = event_id
        raise problem from error


def audio_bytes(event: InputAudioBufferAppendEvent) -> bytes:
    """The audio of an append.

    Raises:
        ProtocolError: `audio` is not base64.
    """
    try:
        return base64.b64decode(event.audio, validate=True)
    except ValueError as error:
        raise ProtocolError(f"audio must be base64: {error}", param="audio") from error


def item_of(event: ConversationItemCreateEvent) -> Item:
    """The message that a client adds to the conversation; it gets an id if it brings none.

    Raises:
        ProtocolError: an item of another kind, or content that is not words.
    """
    fields = event.item.model_dump(exclude_none=True)
    if fields["type"] != "message":
        raise ProtocolError(
            f"item.type: {fields['type']} is not supported by this server", param="item.type"
        )
    texts = []
    for index, part in enumerate(fields["content"]):
        words = part.get(_WORDS.get(part.get("type"), ""))
        if words is None or "audio" in part:
            name = f"item.content.{index}"
            raise ProtocolError(
                f"{name} must be text, or audio that is given by its transcript alone", param=name
            )
        texts.append(words)
    text = "\n".join(texts)
    if len(text) > _LONGEST_TEXT:
        raise ProtocolError(
            f"item.content must hold at most {_LONGEST_TEXT} characters", param="item.content"
        )
    spoken = bool(texts) and all(part["type"].endswith("_audio") for part in fields["content"])
    return Item(
        item_id=fields.get("id") or new_id("item"),
        role=fields["role"],
        text=text,
        modality="audio" if spoken else "text",
    )


class _Problem:
    """One of pydantic's complaints about the event `fields`.

    Where several types would do, pydantic complains for each of them, and puts the type's name
    into the field's path: `path` is without it, `member` ends with it, None if there is none.
    """

    def __init__(self, found: Any, fields: Any) -> None:
        self.kind: str = found["type"]
        self.message: str = found["msg"]
        location: tuple[int | str, ...] = found["loc"]
        self.member: tuple[int | str, ...] | None = None
        missing = len(location) - 1 if self.kind == "missing" else None
        path: list[str] = []
        value = fields
        for index, part in enumerate(location):
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                if index != missing:
                    self.member = self.member or location[: index + 1]
                    continue
            path.append(str(part))
        self.path = ".".join(path)


def _explained(problems: list[_Problem]) -> ProtocolError:
    """The most telling of the problems: of several types that would do, the fields are held
    against those they fit best, and a wrong field tells more than a missing one."""
    counts = Counter(problem.member for problem in problems)
    counts.pop(None, None)
    alone = [problem for problem in problems if problem.member is None]
    fewest = min(counts.values(), default=0)
    likely = alone or [problem for problem in problems if counts[problem.member] == fewest]
    first = next((problem for problem in likely if problem.kind != "missing"), likely[0])
    code = _CODES.get(first.kind, "invalid_value")
    if first.kind == "missing":
        sentence = f"{first.path} is required"
    elif first.kind == "extra_forbidden":
        sentence = f"{first.path} is not a field of the protocol"
    else:
        wanted = {p.message: p.kind for p in likely if p.path == first.path}
        if "string_type" in wanted.values():  # any string, not only those that have a name
            wanted = {text: kind for text, kind in wanted.items() if kind != "literal_error"}
        choices = " or ".join(text.removeprefix("Input should be ") for text in wanted)
        sentence = f"{first.path} must be {choices}"
    return ProtocolError(sentence, code=code, param=first.path)
