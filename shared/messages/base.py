"""What all messages have in common."""

from typing import Annotated, Literal

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

Trace = Annotated[str, msgspec.Meta(pattern="^(00-[0-9a-f]{32}-[0-9a-f]{16}-01)?$")]
"""The trace of a turn, as W3C Trace Context has it; "" where there is none."""

Modality = Literal["audio", "text"]


class MessageError(ValueError):
    """A message that this process cannot read; says which field and what was expected."""


class Message(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """What all messages have in common."""

    v: Literal[1] = 1
