"""Speech without a model: samples that tell where they belong, for tests."""

from collections.abc import Iterator

import numpy as np

from shared.audio import Int16
from workers.tts.engines import Speech

_CHARACTER_S = 0.02
_CHUNK_S = 0.2


class InstantEngine:
    """Speaks 20 ms for each character; the sample at position i has the value i mod 32768."""

    name = "instant"
    model = "instant"

    def __init__(self) -> None:
        self.voices = ["instant"]

    def load(self) -> None:
        pass

    def close(self) -> None:
        pass

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        seconds = _CHARACTER_S * len(speech.text) / speech.speed
        end = round(seconds * speech.sample_rate)
        step = round(_CHUNK_S * speech.sample_rate)
        for start in range(0, end, step):
            positions = np.arange(start, min(start + step, end))
            yield (positions % 32768).astype(np.int16)
