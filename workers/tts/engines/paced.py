"""Speech without a model that takes its time, so that a fault can find it at work."""

import time
from collections.abc import Iterator

from shared.audio import Int16
from shared.settings import Settings
from workers.tts.engines import Speech
from workers.tts.engines.instant import InstantEngine


class PacedEngine(InstantEngine):
    """Speaks what `instant` speaks, `paced_tts_speed` times as fast as it is heard."""

    name = "paced"
    model = "paced"

    def __init__(self, settings: Settings) -> None:
        self._speed = settings.paced_tts_speed

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        for chunk in super().synthesize(speech):
            time.sleep(len(chunk) / speech.sample_rate / self._speed)
            yield chunk
