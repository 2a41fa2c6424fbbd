"""What a client sends: JSON, checked against the types of the official `openai` package.

The check is strict: a string is no number, and a field that the protocol does not have is an
error, so that a misspelt one is not taken for a wish granted.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import pydantic
import pydantic_core
from openai.types.realtime import (
    ConversationItem,
    ConversationItemCreateEvent,
    ConversationItemDeleteEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    OutputAudioBufferClearEvent,
    RealtimeResponseCreateParams,
    RealtimeSessionCreateRequest,
    RealtimeTranscriptionSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)

from gateway.protocols.realtime.errors import ProtocolError


class RealtimeSession(RealtimeSessionCreateRequest):
    """A session that talks. Clients older than transcription sessions send no type."""

    type: Literal["realtime"] = "realtime"


class SessionUpdate(SessionUpdateEvent):
    """An update of a session that talks, or of one that only transcribes."""

    session: RealtimeSession | RealtimeTranscriptionSessionCreateRequest


class ResponseWishes(RealtimeResponseCreateParams):
    """What a response is to be. Its input may refer to items by their ids, for which the
    package has no type: `items` reads it."""

    input: list[dict[str, Any]] | None = None  # type: ignore[assignment]


class ResponseCreate(ResponseCreateEvent):
    """A response is asked for."""

    response: ResponseWishes | None = None


ClientEvent = (
    SessionUpdate
    | InputAudioBufferAppendEvent
    | InputAudioBufferCommitEvent
    | InputAudioBufferClearEvent
    | OutputAudioBufferClearEvent
    | ConversationItemCreateEvent
    | ConversationItemRetrieveEvent
    | ConversationItemDeleteEvent
    | ConversationItemTruncateEvent
    | ResponseCreate
    | ResponseCancelEvent
)

_MODELS: dict[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": InputAudioBufferAppendEvent,
    "input_audio_buffer.commit": InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": InputAudioBufferClearEvent,
    "output_audio_buffer.clear": OutputAudioBufferClearEvent,
    "conversation.item.create": ConversationItemCreateEvent,
    "conversation.item.retrieve": ConversationItemRetrieveEvent,
    "conversation.item.delete": ConversationItemDeleteEvent,
    "conversation.item.truncate": ConversationItemTruncateEvent,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancelEvent,
}

_ITEM: pydantic.TypeAdapter[ConversationItem] = pydantic.TypeAdapter(ConversationItem)
_LONGEST_REFERENCE = 512

Translate = Callable[[dict[str, Any]], dict[str, Any]]

_CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


def parse(text: str, translate: Translate | None = None) -> ClientEvent:
    """The client event in `text`, which `translate` puts into this protocol's terms.

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
    event_id = reference(fields.get("event_id"))
    if translate is not None:
        try:
            fields = translate(fields)
        except ProtocolError as refused:
            refused.event_id = event_id
            raise
        text = pydantic_core.to_json(fields).decode()
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
        problem = _explained([_Problem(found, given) for found in error.errors()])
        param = f"{name}.{problem.param}" if problem.param else name
        raise ProtocolError(f"{name}.{problem.message}", code=problem.code, param=param) from error
    fields: dict[str, Any] = item.model_dump(exclude_none=True)
    return fields


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
