"""What travels between processes to be worked on: lane entries and jobs."""

from typing import Literal

import msgspec

from shared.messages.base import Marks, Message, Modality, Positive, Trace
from shared.messages.conversation import AnyItem, Item, Tooling, TurnDetection

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
    client's own name for a `commit`. `timeout` makes a turn of the silence since sample `since`.
    `number` is the client's request that it comes from, so that one sent again is carried out
    once; 0 is none.
    """

    session_id: str
    at: Positive
    action: Literal["open", "configure", "commit", "clear", "timeout", "close"]
    turn_detection: TurnDetection | None = None
    language: str | None = None
    transcription_prompt: str | None = None
    reference: str | None = None
    number: Positive = 0
    since: Positive = 0


class LaneEntry(Message, frozen=True, tag="lane_entry"):
    """What one gateway gathered for one lane since its last write, sessions mixed, in order."""

    records: list[Frame | Command]


class ListenerState(Message, frozen=True, tag="listener_state"):
    """Where a VAD worker stands in one session, so that a successor hears the same.

    `heard` is the sample up to which the model has listened, with `model` its state (float32)
    there; audio is needed again from sample `kept` on. `quiet_from` is -1 while nobody is quiet.
    `asking` says that it waits to be told whether the turn is over. `timed_out` is where the last
    silence was that made a turn, -1 if none did. `number` is the last of the client's requests that
    was carried out.
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
    asking: bool = False
    timed_out: int = -1


# --- jobs -----------------------------------------------------------------------------------


class SttJob(Message, frozen=True, tag="stt_job"):
    """Transcribe one turn of the user: `pcm` is 16 kHz `int16`.

    `item` is the item that the words go into, where it is more than this audio. An answer is begun
    if there are words, or always, or never.
    """

    session_id: str
    item_id: str
    turn: int
    pcm: bytes
    language: str | None = None
    prompt: str | None = None
    item: Item | None = None
    respond: Literal["if_words", "always", "never"] = "if_words"
    marks: Marks = {}
    trace: Trace = ""


class LlmJob(Message, frozen=True, tag="llm_job"):
    """Answer the conversation as it was when the response began, or `input` alone.

    The words of the answer become the item `item_id`. An answer `aside` does not become part of
    the conversation. What is None is as the session says. `output_rate` is the response's own, in
    Hz: the session's may have changed meanwhile.
    """

    session_id: str
    response_id: str
    item_id: str
    instructions: str | None = None
    modality: Modality | None = None
    max_output_tokens: int | None = None
    tooling: Tooling | None = None
    voice: str | None = None
    input: list[AnyItem] | None = None
    aside: bool = False
    output_rate: int = 24_000
    marks: Marks = {}
    trace: Trace = ""


class TtsJob(Message, frozen=True, tag="tts_job"):
    """Speak one segment of a response, in `language` where that is known, at `sample_rate` Hz."""

    session_id: str
    response_id: str
    segment: Positive
    text: str
    voice: str | None
    speed: float
    sample_rate: int
    language: str | None = None
    marks: Marks = {}
    trace: Trace = ""


# --- hints: published, lost without harm ----------------------------------------------------


class Hint(Message, frozen=True):
    """Work that will probably be asked for."""

    session_id: str


class SttHint(Hint, frozen=True, tag="stt_hint"):
    """The user has paused: `pcm`, `language` and `prompt` are what the turn's job will have if they
    say no more."""

    pcm: bytes
    language: str | None = None
    prompt: str | None = None


class LlmHint(Hint, frozen=True, tag="llm_hint"):
    """A session's next prompt begins differently from here on: its configuration has changed, or
    its user has probably said `text`, in `language` where that was heard."""

    text: str | None = None
    language: str | None = None


class TtsHint(Hint, frozen=True, tag="tts_hint"):
    """A segment with which the session's next answer will probably begin: as in its `TtsJob`."""

    text: str
    voice: str | None
    speed: float
    sample_rate: int
    language: str | None = None
