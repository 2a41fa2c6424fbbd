"""What to say to real engines: questions, spoken by the starter voice."""

import numpy as np

from client import SAMPLE_RATE
from shared.audio import Int16
from shared.settings import Settings
from workers.tts.engines import Speech, create

MOST_TOKENS = 40
"""Of an answer, so that a turn does not take minutes."""

_QUESTIONS = (
    "What is the capital of France?",
    "What color is the sky on a clear day?",
    "How many days are in a week?",
    "Which animal says meow?",
    "What do bees make?",
    "What is the opposite of hot?",
)


def questions() -> list[Int16]:
    """The questions, each int16 (n,) at 24 kHz.

    Raises:
        ModelMissing: the voice is not on this machine.
    """
    voice = create(Settings(tts_engine="piper"))
    voice.load()
    try:
        return [
            np.concatenate(list(voice.synthesize(Speech(question, None, 1.0, SAMPLE_RATE))))
            for question in _QUESTIONS
        ]
    finally:
        voice.close()
