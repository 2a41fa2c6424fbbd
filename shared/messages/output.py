"""What a session's gateway must show its client, in order."""

from typing import Literal

from shared.messages.base import Marks, Message, Modality, Positive, Trace
from shared.messages.conversation import AnyItem, FunctionCall


class SpeechStarted(Message, frozen=True, tag="speech_started"):
    item_id: str
    turn: int
    at: Positive


class SpeechStopped(Message, frozen=True, tag="speech_stopped"):
    item_id: str
    turn: int
    at: Positive


class Committed(Message, frozen=True, tag="committed"):
    """The user's turn is an item of the conversation now; its transcript follows.

    `number` is the client's request that asked for it, 0 if none did.
    """

    item_id: str
    audio_ms: int
    number: Positive = 0
    trace: Trace = ""


class CommitRefused(Message, frozen=True, tag="commit_refused"):
    """A commit came with less than 100 ms of audio in the buffer."""

    audio_ms: int
    reference: str | None = None
    number: Positive = 0


class TimeoutTriggered(Message, frozen=True, tag="timeout_triggered"):
    """The user said nothing from sample `since` to sample `at`, and is answered all the same."""

    item_id: str
    since: Positive
    at: Positive


class Cleared(Message, frozen=True, tag="cleared"):
    """The uncommitted audio was thrown away, as asked."""


class Transcribed(Message, frozen=True, tag="transcribed"):
    item_id: str
    text: str
    language: str | None
    audio_s: float
    content_index: Positive = 0


class TranscriptionFailed(Message, frozen=True, tag="transcription_failed"):
    item_id: str
    message: str
    content_index: Positive = 0


class ResponseCreated(Message, frozen=True, tag="response_created"):
    """An answer begins; its words, if there will be any, are the item `item_id`.

    `aside` says that it is no part of the conversation. `protocol` is what the client's protocol
    must find again to show it; nobody else reads it.
    """

    response_id: str
    item_id: str
    modality: Modality
    output_rate: int = 24_000
    aside: bool = False
    protocol: str = ""
    trace: Trace = ""


class TextDelta(Message, frozen=True, tag="text_delta"):
    """More of the answer's text, from its character `at` on; `segment` is the speakable piece it
    belongs to. The first makes the answer's words an item of the conversation."""

    response_id: str
    segment: Positive
    at: Positive
    text: str


class TextDone(Message, frozen=True, tag="text_done"):
    """The answer's text is complete and has `segments` pieces to be heard.

    `calls` are the functions that the model calls. Of the input's tokens `cached_tokens` were read
    for an earlier answer.
    """

    response_id: str
    segments: Positive
    finish: Literal["stop", "length"]
    input_tokens: Positive
    output_tokens: Positive
    marks: Marks
    cached_tokens: Positive = 0
    calls: list[FunctionCall] = []


class AudioChunk(Message, frozen=True, tag="audio_chunk"):
    """Audio of one segment from sample `offset` on, at the session's output rate.

    `marks` comes with a segment's first chunk, `final` with its last (which may be empty).
    """

    response_id: str
    segment: Positive
    offset: Positive
    pcm: bytes
    final: bool = False
    marks: Marks = {}


class ResponseFailed(Message, frozen=True, tag="response_failed"):
    response_id: str
    message: str


class Interrupted(Message, frozen=True, tag="interrupted"):
    """An answer is cancelled, the one that is named or else the conversation's; nothing of it comes
    after this message."""

    reason: Literal["turn_detected", "client_cancelled"]
    response_id: str = ""


class OutputCleared(Message, frozen=True, tag="output_cleared"):
    """What was still to be heard of an answer was thrown away, as asked."""

    response_id: str


class Configured(Message, frozen=True, tag="configured"):
    """The session's configuration was replaced, as asked; `protocol` as in `SessionConfig`."""

    protocol: str = ""


class ItemAdded(Message, frozen=True, tag="item_added"):
    """The client's own item is in the conversation: after the item `after`, at the beginning if
    that is "", else at the end."""

    item: AnyItem
    after: str | None = None


class ItemDeleted(Message, frozen=True, tag="item_deleted"):
    """An item is not in the conversation any more."""

    item_id: str


class ItemRetrieved(Message, frozen=True, tag="item_retrieved"):
    """An item as it is now, as asked."""

    item: AnyItem


class Truncated(Message, frozen=True, tag="truncated"):
    """The assistant's item was cut to what the client played of it."""

    item_id: str
    audio_end_ms: Positive
    content_index: Positive = 0


class Detached(Message, frozen=True, tag="detached"):
    """Whoever served this session before `attachment` does so no more."""

    attachment: str


class Closed(Message, frozen=True, tag="closed"):
    """The session was ended from outside; nothing comes after this message."""

    reason: str
