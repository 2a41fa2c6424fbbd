"""Every message between processes, and the one place that encodes and decodes them.

On the wire a message is msgpack: a map of the field names, the message's `type` and, first,
the version `v`, now 1. Structs are decoded strictly: an unknown version, type or field type is a
`MessageError` that says what was expected, and the reader goes on with the next message.

Audio is little-endian `int16`, mono. Times ending in `_ms` are milliseconds; `at` positions
count samples of 16 kHz since the session opened, so they order a session's audio for good.
"""

from typing import Annotated, Literal, TypeVar

import msgspec

Marks = dict[str, int]
"""Stage → wall-clock milliseconds at which it was reached; travels with a turn."""

# The order in which a turn reaches its marks, and so the rows of its waterfall.
MARKS = (
    "speech_end",
    "turn_end",
    "stt_start",
    "stt_end",
    "llm_start",
    "llm_first_token",
    "llm_first_segment",
    "tts_start",
    "tts_first_chunk",
    "audio_out",
)

Positive = Annotated[int, msgspec.Meta(ge=0)]


class MessageError(ValueError):
    """A message that this process cannot read; says which field and what was expected."""


class Message(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """What all messages have in common."""

    v: Literal[1] = 1


# --- session configuration ------------------------------------------------------------------


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """When the user's turn begins and ends."""

    threshold: float = 0.5
    prefix_ms: Positive = 300
    silence_ms: Positive = 500
    create_response: bool = True
    interrupt_response: bool = True


class SessionConfig(Message, frozen=True, tag="session_config"):
    """What a session asks for, whatever protocol its client speaks.

    `turn_detection` is None for push-to-talk. `output_rate` is the sample rate, in Hz, of the
    audio that the gateway sends. `protocol` is what the client's protocol must find again when
    another gateway goes on with the session; nobody else reads it.
    """

    instructions: str | None = None
    language: str | None = None
    transcription_prompt: str | None = None
    turn_detection: TurnDetection | None = TurnDetection()
    modality: Literal["audio", "text"] = "audio"
    voice: str | None = None
    speed: float = 1.0
    output_rate: int = 24_000
    max_output_tokens: int | None = None
    protocol: str = ""


class Item(Message, frozen=True, tag="item"):
    """One entry of the conversation; `text` is None while it is being transcribed."""

    item_id: str
    role: Literal["user", "assistant", "system"]
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    text: str | None = None
    modality: Literal["audio", "text"] = "text"


# --- lane: gateway → vad --------------------------------------------------------------------


class Frame(msgspec.Struct, frozen=True, tag="frame", tag_field="type"):
    """Audio of one session: 16 kHz `int16`, starting at sample `at`."""

    session_id: str
    at: Positive
    pcm: bytes
    received_ms: int

    @property
    def end(self) -> int:
        return self.at + len(self.pcm) // 2


class Command(msgspec.Struct, frozen=True, tag="command", tag_field="type"):
    """A step of the session that must keep its place among the frames.

    `open` and `configure` carry the turn detection to use from here on; `reference` is the
    client's own name for a `commit`. `number` is the client's request that it comes from, so that
    one sent again is carried out once; 0 is none.
    """

    session_id: str
    at: Positive
    action: Literal["open", "configure", "commit", "clear", "close"]
    turn_detection: TurnDetection | None = None
    language: str | None = None
    transcription_prompt: str | None = None
    reference: str | None = None
    number: Positive = 0


class LaneEntry(Message, frozen=True, tag="lane_entry"):
    """What one gateway gathered for one lane since its last write, sessions mixed, in order."""

    records: list[Frame | Command]


class ListenerState(Message, frozen=True, tag="listener_state"):
    """Where a VAD worker stands in one session, so that a successor hears the same.

    `heard` is the sample up to which the model has listened, with `model` its state (float32)
    there; audio is needed again from sample `kept` on. `quiet_from` is -1 while nobody is quiet.
    `number` is the last of the client's requests that was carried out.
    """

    session_id: str
    seq: Positive
    number: Positive
    turn: Positive
    heard: Positive
    kept: Positive
    model: bytes
    speaking: bool
    voiced: Positive
    quiet_from: int
    began: Positive
    item_id: str
    turn_detection: TurnDetection | None
    language: str | None
    transcription_prompt: str | None


# --- jobs -----------------------------------------------------------------------------------


class SttJob(Message, frozen=True, tag="stt_job"):
    """Transcribe one turn of the user: `pcm` is 16 kHz `int16`."""

    session_id: str
    item_id: str
    turn: int
    pcm: bytes
    language: str | None = None
    prompt: str | None = None
    respond: bool = True
    marks: Marks = {}


class LlmJob(Message, frozen=True, tag="llm_job"):
    """Answer the conversation up to the item `item_id`, which becomes the answer.

    `output_rate` is the response's own, in Hz: the session's may have changed meanwhile.
    """

    session_id: str
    response_id: str
    item_id: str
    instructions: str | None = None
    modality: Literal["audio", "text"] | None = None
    max_output_tokens: int | None = None
    output_rate: int = 24_000
    marks: Marks = {}


class TtsJob(Message, frozen=True, tag="tts_job"):
    """Speak one segment of a response at `sample_rate` Hz."""

    session_id: str
    response_id: str
    segment: Positive
    text: str
    voice: str | None
    speed: float
    sample_rate: int
    marks: Marks = {}


# --- out: what a session's gateway must show the client, in order ----------------------------


class SpeechStarted(Message, frozen=True, tag="speech_started"):
    item_id: str
    turn: int
    at: Positive


class SpeechStopped(Message, frozen=True, tag="speech_stopped"):
    item_id: str
    turn: int
    at: Positive


class Committed(Message, frozen=True, tag="committed"):
    """The user's turn is an item of the conversation now; its transcript follows."""

    item_id: str
    audio_ms: int


class CommitRefused(Message, frozen=True, tag="commit_refused"):
    """A commit came with less than 100 ms of audio in the buffer."""

    audio_ms: int
    reference: str | None = None


class Cleared(Message, frozen=True, tag="cleared"):
    """The uncommitted audio was thrown away, as asked."""


class Transcribed(Message, frozen=True, tag="transcribed"):
    item_id: str
    text: str
    language: str | None
    audio_s: float


class TranscriptionFailed(Message, frozen=True, tag="transcription_failed"):
    item_id: str
    message: str


class ResponseCreated(Message, frozen=True, tag="response_created"):
    response_id: str
    item_id: str
    modality: Literal["audio", "text"]
    output_rate: int = 24_000


class TextDelta(Message, frozen=True, tag="text_delta"):
    """More of the answer's text, from its character `at` on; `segment` is the speakable piece it
    belongs to."""

    response_id: str
    segment: Positive
    at: Positive
    text: str


class TextDone(Message, frozen=True, tag="text_done"):
    """The answer's text is complete and has `segments` pieces to be heard."""

    response_id: str
    segments: Positive
    finish: Literal["stop", "length"]
    input_tokens: Positive
    output_tokens: Positive
    marks: Marks


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
    """Whatever answered until here is cancelled; nothing of it comes after this message."""

    reason: Literal["turn_detected", "client_cancelled"]


class Configured(Message, frozen=True, tag="configured"):
    """The session's configuration was replaced, as asked."""


class ItemAdded(Message, frozen=True, tag="item_added"):
    """The client's own item is the last of the conversation now."""

    item: Item


class Truncated(Message, frozen=True, tag="truncated"):
    """The assistant's item was cut to what the client played of it."""

    item_id: str
    audio_end_ms: Positive


class Detached(Message, frozen=True, tag="detached"):
    """Whoever served this session before `attachment` does so no more."""

    attachment: str


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
    | Truncated
    | Detached
)
JobMessage = SttJob | LlmJob | TtsJob
AnyMessage = OutMessage | JobMessage | LaneEntry | ListenerState | SessionConfig | Item

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
