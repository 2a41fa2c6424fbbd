"""Where a turn's time went, from the marks that travelled with it."""

from collections.abc import Mapping
from typing import NamedTuple

from shared.messages import MARKS

# What ends at each mark but the first, which is where the clock starts.
PARTS = {
    "turn_end": "end_of_turn",
    "stt_start": "stt_queue",
    "stt_end": "stt",
    "llm_start": "llm_queue",
    "llm_first_token": "llm_first_token",
    "llm_first_segment": "llm_first_segment",
    "tts_start": "tts_queue",
    "tts_first_chunk": "tts_first_chunk",
    "audio_out": "delivery",
}


class Part(NamedTuple):
    """What ended at `mark`; times in ms, `start_ms` counted from the end of speech."""

    mark: str
    start_ms: float
    duration_ms: float


def parts(marks: Mapping[str, float]) -> list[Part]:
    """The parts of a turn in order, from its marks in ms.

    A part lasts from the latest mark before it to its own, so they add up to the whole; a mark
    that is missing leaves its time to the next part. Without `speech_end` there are none.
    """
    if MARKS[0] not in marks:
        return []
    start = at = marks[MARKS[0]]
    found = []
    for mark in MARKS[1:]:
        if mark in marks:
            end = max(at, marks[mark])
            found.append(Part(mark, at - start, end - at))
            at = end
    return found
