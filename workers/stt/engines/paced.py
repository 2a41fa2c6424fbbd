"""Recognition without a model that takes its time, so that a fault can find it at work."""

import time
from collections.abc import Sequence

from shared.settings import Settings
from workers.stt.engines import Transcript, Utterance
from workers.stt.engines.instant import InstantEngine


class PacedEngine(InstantEngine):
    """Recognises what `instant` recognises, in `paced_stt_ms` for each utterance."""

    name = "paced"
    model = "paced"

    def __init__(self, settings: Settings) -> None:
        self._utterance_s = settings.paced_stt_ms / 1000

    def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        time.sleep(self._utterance_s * len(batch))
        return super().transcribe(batch)
