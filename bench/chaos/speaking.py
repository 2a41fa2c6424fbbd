"""What a session must be answered, to the sample: the text and its audio. No I/O."""

from functools import cache

import numpy as np

from client import SAMPLE_RATE
from shared.audio import Int16
from workers.llm.splitter import Splitter
from workers.tts.engines import Speech
from workers.tts.engines.instant import InstantEngine
from workers.tts.speakable import speakable


def answer(said: str) -> str:
    """What the `instant` language model answers to the user's words."""
    return f"You said: {said}. That is all I know about it."


@cache
def _engine() -> InstantEngine:
    return InstantEngine()


def audio(text: str) -> Int16:
    """The whole of an answer as the `instant` engine speaks its segments: int16, 24 kHz."""
    splitter = Splitter()
    segments: dict[int, str] = {}
    for piece in [*splitter.feed(text), *splitter.flush()]:
        segments[piece.segment] = segments.get(piece.segment, "") + piece.text
    spoken = [
        chunk
        for number in sorted(segments)
        for chunk in _engine().synthesize(
            Speech(speakable(segments[number]), None, speed=1.0, sample_rate=SAMPLE_RATE)
        )
    ]
    return np.concatenate(spoken) if spoken else np.zeros(0, np.int16)
