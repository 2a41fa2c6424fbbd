"""Every message between processes, and the one place that encodes and decodes them.

On the wire a message is msgpack: a map of the field names, the message's `type` and, first,
the version `v`, now 1. Structs are decoded strictly: an unknown version, type or field type is a
`MessageError` that says what was expected, and the reader goes on with the next message.

Audio is little-endian `int16`, mono. Times ending in `_ms` are milliseconds; `at` positions
count samples of 16 kHz since the session opened, so they order a session's audio for good.
"""

from typing import TypeVar

import msgspec

from shared.messages.base import (
    MARKS,
    Marks,
    Message,
    MessageError,
    Modality,
    Positive,
    Trace,
)
from shared.messages.conversation import (
    AnyItem,
    FunctionCall,
    FunctionOutput,
    Item,
    ItemStatus,
    NamedTool,
    Part,
    SessionConfig,
    Tool,
    ToolChoice,
    Tooling,
    Truncation,
    TurnDetection,
)
from shared.messages.output import (
    AudioChunk,
    Cleared,
    Closed,
    CommitRefused,
    Committed,
    Configured,
    Detached,
    Interrupted,
    ItemAdded,
    ItemDeleted,
    ItemRetrieved,
    OutputCleared,
    ResponseCreated,
    ResponseFailed,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TextDone,
    TimeoutTriggered,
    Transcribed,
    TranscriptionFailed,
    Truncated,
)
from shared.messages.work import (
    Command,
    Frame,
    Hint,
    LaneEntry,
    ListenerState,
    LlmHint,
    LlmJob,
    SttHint,
    SttJob,
    TtsHint,
    TtsJob,
)

OutMessage = (
    SpeechStarted
    | SpeechStopped
    | Committed
    | CommitRefused
    | Cleared
    | Transcribed
    | TranscriptionFailed
    | ResponseCreated
    | TextDelta
    | TextDone
    | AudioChunk
    | ResponseFailed
    | Interrupted
    | Configured
    | ItemAdded
    | TimeoutTriggered
    | OutputCleared
    | ItemDeleted
    | ItemRetrieved
    | Truncated
    | Detached
    | Closed
)
JobMessage = SttJob | LlmJob | TtsJob
AnyMessage = (
    OutMessage
    | JobMessage
    | SttHint
    | LlmHint
    | TtsHint
    | LaneEntry
    | ListenerState
    | SessionConfig
    | AnyItem
)

__all__ = [
    "MARKS",
    "AnyItem",
    "AnyMessage",
    "AudioChunk",
    "Cleared",
    "Closed",
    "Command",
    "CommitRefused",
    "Committed",
    "Configured",
    "Detached",
    "Frame",
    "FunctionCall",
    "FunctionOutput",
    "Hint",
    "Interrupted",
    "Item",
    "ItemAdded",
    "ItemDeleted",
    "ItemRetrieved",
    "ItemStatus",
    "JobMessage",
    "LaneEntry",
    "ListenerState",
    "LlmHint",
    "LlmJob",
    "Marks",
    "Message",
    "MessageError",
    "Modality",
    "NamedTool",
    "OutMessage",
    "OutputCleared",
    "Part",
    "Positive",
    "ResponseCreated",
    "ResponseFailed",
    "SessionConfig",
    "SpeechStarted",
    "SpeechStopped",
    "SttHint",
    "SttJob",
    "TextDelta",
    "TextDone",
    "TimeoutTriggered",
    "Tool",
    "ToolChoice",
    "Tooling",
    "Trace",
    "Transcribed",
    "TranscriptionFailed",
    "Truncated",
    "Truncation",
    "TtsHint",
    "TtsJob",
    "TurnDetection",
    "decode",
    "encode",
]

M = TypeVar("M", bound=Message)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """`message` as msgpack."""
    return _encoder.encode(message)


def decode(data: bytes, expected: type[M]) -> M:
    """The message in `data`, which must be an instance of `expected`.

    Raises:
        MessageError: not msgpack, an unknown version or type, a missing field, a field of the
            wrong type, or a message of another type than expected.
    """
    try:
        message = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise MessageError(f"unreadable message: {error}") from error
    if not isinstance(message, expected):
        wanted = getattr(expected, "__name__", str(expected))
        raise MessageError(f"expected a {wanted} message, got {type(message).__name__}")
    return message
