"""What a client sends: JSON, checked against the types of the official `openai` package.

The check is strict: a string is no number, and a field that the protocol does not have is an
error, so that a misspelt one is not taken for a wish granted.

Audio comes fifty times a second from every client, so an append that is as it should be is read in
one step, to the bytes of its audio. One that is not takes the way of all other events, which says
what is wrong with it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pydantic_core
from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemDeleteEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    OutputAudioBufferClearEvent,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
    RealtimeMcpApprovalRequest,
    RealtimeMcpApprovalResponse,
    RealtimeMcpListTools,
    RealtimeMcpToolCall,
    RealtimeResponseCreateParams,
    RealtimeSessionCreateRequest,
    RealtimeTranscriptionSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)

from gateway.protocols.realtime import reading
from gateway.protocols.realtime.errors import ProtocolError, field

# Of several types that would do, the one is checked that is named: its problems are the event's,
# and a wrong field is complained of once.
_Message = Annotated[
    RealtimeConversationItemSystemMessage
    | RealtimeConversationItemUserMessage
    | RealtimeConversationItemAssistantMessage,
    pydantic.Field(discriminator="role"),
]
_Item = Annotated[
    _Message
    | RealtimeConversationItemFunctionCall
    | RealtimeConversationItemFunctionCallOutput
    | RealtimeMcpApprovalResponse
    | RealtimeMcpListTools
    | RealtimeMcpToolCall
    | RealtimeMcpApprovalRequest,
    pydantic.Field(discriminator="type"),
]


class RealtimeSession(RealtimeSessionCreateRequest):
    """A session that talks. Clients older than transcription sessions send no type."""

    type: Literal["realtime"] = "realtime"


def _kind(session: Any) -> Any:
    return session.get("type", "realtime") if isinstance(session, dict) else "realtime"


class SessionUpdate(SessionUpdateEvent):
    """An update of a session that talks, or of one that only transcribes."""

    session: Annotated[
        Annotated[RealtimeSession, pydantic.Tag("realtime")]
        | Annotated[RealtimeTranscriptionSessionCreateRequest, pydantic.Tag("transcription")],
        pydantic.Discriminator(_kind),
    ]


class ItemCreate(ConversationItemCreateEvent):
    """A new item."""

    item: _Item


class ResponseWishes(RealtimeResponseCreateParams):
    """What a response is to be. Its input may refer to items by their ids, for which the
    package has no type: `items` reads it."""

    input: list[dict[str, Any]] | None = None  # type: ignore[assignment]


class ResponseCreate(ResponseCreateEvent):
    """A response is asked for."""

    response: ResponseWishes | None = None


_LONGEST_REFERENCE = 512


class Append(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An append as most of them are; not all that do not fit here are wrong."""

    type: Literal["input_audio_buffer.append"]
    audio: bytes  # base64, decoded
    event_id: Annotated[str, msgspec.Meta(max_length=_LONGEST_REFERENCE)] | None = None


_Checked = (
    SessionUpdate
    | InputAudioBufferAppendEvent
    | InputAudioBufferCommitEvent
    | InputAudioBufferClearEvent
    | OutputAudioBufferClearEvent
    | ItemCreate
    | ConversationItemRetrieveEvent
    | ConversationItemDeleteEvent
    | ConversationItemTruncateEvent
    | ResponseCreate
    | ResponseCancelEvent
)
ClientEvent = Append | _Checked

_MODELS: dict[str, type[_Checked]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": InputAudioBufferAppendEvent,
    "input_audio_buffer.commit": InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": InputAudioBufferClearEvent,
    "output_audio_buffer.clear": OutputAudioBufferClearEvent,
    "conversation.item.create": ItemCreate,
    "conversation.item.retrieve": ConversationItemRetrieveEvent,
    "conversation.item.delete": ConversationItemDeleteEvent,
    "conversation.item.truncate": ConversationItemTruncateEvent,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancelEvent,
}

_ITEM: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(_Item)
_APPEND = msgspec.json.Decoder(Append)
_MOST_PROBLEMS = 1000

Translate = Callable[[dict[str, Any]], dict[str, Any]]

_CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


def parse(text: str, translate: Translate | None = None) -> ClientEvent:
    """The client event in `text`, which `translate` puts into this protocol's terms.

    Raises:
        ProtocolError: not a JSON object, an unknown event, or a field that is missing, unknown
            or wrong.
    """
    try:
        return _APPEND.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return _parse(text, translate)


def _parse(text: str, translate: Translate | None) -> _Checked:
    """Any event, however long it takes."""
    fields = reading.read(text)
    if not isinstance(fields, dict):
        raise ProtocolError("an event must be a JSON object with a type")
    try:
        reading.check(fields)
        if translate is not None:
            fields = translate(fields)
            text = pydantic_core.to_json(fields).decode()
        return _checked(text, fields)
    except ProtocolError as refused:
        refused.event_id = reference(fields.get("event_id"))
        raise


def _checked(text: str, fields: dict[str, Any]) -> _Checked:
    """The event in `text`, which `fields` are."""
    kind = fields.get("type")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        known = ", ".join(sorted(_MODELS))
        raise ProtocolError(f"type must be one of {known}", code="unknown_event", param="type")
    try:
        return model.model_validate_json(text, strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        raise _explained(error, fields) from error


def reference(event_id: Any) -> str | None:
    """A client's own name for an event, if it is one and short enough to be sent back."""
    return event_id if isinstance(event_id, str) and len(event_id) <= _LONGEST_REFERENCE else None


def item_fields(given: dict[str, Any], name: str) -> dict[str, Any]:
    """An item inside another event, which the client calls `name`, checked like one of its own.

    Raises:
        ProtocolError: a field that is missing, unknown or wrong.
    """
    try:
        item = _ITEM.validate_json(pydantic_core.to_json(given), strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        problem = _explained(error, given)
        param = f"{name}.{problem.param}" if problem.param else name
        raise ProtocolError(f"{name}.{problem.message}", code=problem.code, param=param) from error
    fields: dict[str, Any] = item.model_dump(exclude_none=True)
    return fields


class _Problem:
    """One of pydantic's complaints about the event `fields`.

    Where several types would do, pydantic complains for each of them, and puts the type's name
    into the field's path: `path` is without it, `member` ends with it, None if there is none. A
    type that the client named is no choice among several, and no member.
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
                if isinstance(value, dict) and part in _named(value):
                    continue
                if index != missing:
                    self.member = self.member or location[: index + 1]
                    continue
            path.append(str(part))
        if self.kind.startswith("union_tag_"):  # which of several types it is to be
            path.append("role" if found["ctx"]["discriminator"] == "'role'" else "type")
            self.message = str(found["ctx"].get("expected_tags", "")).replace(", ", " or ")
            self.kind = "missing" if self.kind == "union_tag_not_found" else self.kind
        self.path = field(path)


def _named(fields: dict[str, Any]) -> tuple[Any, Any]:
    """What decides which of several types an object is to be."""
    return _kind(fields), fields.get("role")


def _explained(error: pydantic.ValidationError, fields: dict[str, Any]) -> ProtocolError:
    """The most telling of the problems with `fields`: of several types that would do, the fields
    are held against those they fit best, and a wrong field tells more than a missing one."""
    found = error.errors(include_url=False, include_input=False)[:_MOST_PROBLEMS]
    problems = [_Problem(each, fields) for each in found]
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
