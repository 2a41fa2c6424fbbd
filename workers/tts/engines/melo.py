"""MeloTTS (VITS with BERT's features, on torch): https://github.com/myshell-ai/MeloTTS.

It runs in an environment of its own (`deploy/melo`), for it needs an old Transformers.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import numpy as np
import torch

from shared import gpu
from shared.audio import Int16, Resampler, to_int16
from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.tts.engines import Speech, Voice, melo_data
from workers.tts.engines.melo_data import FRONT_ENDS
from workers.tts.engines.melo_model import Checkpoint
from workers.tts.engines.melo_text import pieces

_CHUNK_S = 0.2
# Between two sentences, as MeloTTS has it.
_PAUSE_S = 0.05
# The decoder's activations for a phrase of a quarter of a minute, the longest there is: measured
# on a CPU, 34 MB a second.
_PHRASE_BYTES = 500_000_000
_WARM_UP = {
    "EN": "Hello there, how are you today? I am ready.",
    "ES": "Hola, ¿cómo estás hoy? Estoy listo.",
    "FR": "Bonjour, comment ça va aujourd'hui ? Je suis prêt.",
    "ZH": "你好，今天过得怎么样？我准备好了。",  # noqa: RUF001
    "JP": "こんにちは、お元気ですか。準備ができました。",
    "KR": "안녕하세요, 오늘 어떠세요? 준비됐어요.",
}


class MeloEngine:
    """The speakers of one checkpoint a language; a sentence is synthesised whole."""

    name = "melo"
    works_ahead = True

    def __init__(self, settings: Settings) -> None:
        if find_spec("meloplus") is None:
            raise ModuleNotFoundError("No module named 'meloplus'", name="meloplus")
        self.model = ", ".join(settings.speech_models)
        self.voices: Sequence[Voice] = ()
        self._settings = settings
        self._speakers: dict[str, tuple[Checkpoint, int]] | None = None

    def load(self) -> None:
        """As the interface has it.

        Raises:
            DataMissing: what a text front-end reads is not on this machine.
            DoesNotFit, NoGpu: as `shared.gpu` has it.
        """
        melo_data.stay_offline()
        settings = self._settings
        # On a CPU a batch takes as long as its phrases one by one (bench/melo.py: 1.1 s of
        # processor time a second of speech, alone or four together): the first would wait for
        # the last.
        batch = settings.tts_slots if settings.on_gpu else 1
        found = [
            Checkpoint(resolve(name, settings.models_dir), batch) for name in settings.speech_models
        ]
        size = sum(checkpoint.size_bytes for checkpoint in found)
        size += melo_data.check({checkpoint.language for checkpoint in found})
        if settings.on_gpu:
            gpu.check_fits("tts", self.model, size + settings.tts_slots * _PHRASE_BYTES, settings)
            gpu.limit_torch("tts", settings)
        else:
            torch.set_num_threads(settings.tts_threads)
        speakers: dict[str, tuple[Checkpoint, int]] = {}
        for checkpoint in found:
            checkpoint.load("cuda" if settings.on_gpu else "cpu")
            for name, number in checkpoint.speakers.items():
                speakers.setdefault(name, (checkpoint, number))
            checkpoint.speak(_WARM_UP[checkpoint.language], number, 1.0)
        self.voices = [
            Voice(name, FRONT_ENDS[checkpoint.language].code)
            for name, (checkpoint, _) in speakers.items()
        ]
        self._speakers = speakers

    def close(self) -> None:
        self._speakers = None

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        """As the interface has it.

        Raises:
            ValueError: a speed of 0 or below.
        """
        speakers = loaded(self._speakers, self.name)
        if speech.speed <= 0:
            raise ValueError(f"speed must be above 0, not {speech.speed}")
        checkpoint, speaker = speakers[speech.voice or self.voices[0].name]
        resampler = Resampler(checkpoint.sample_rate, speech.sample_rate)
        pause = np.zeros(round(_PAUSE_S * checkpoint.sample_rate / speech.speed), np.int16)
        step = round(_CHUNK_S * checkpoint.sample_rate)
        for piece in pieces(speech.text, checkpoint.language):
            spoken = to_int16(checkpoint.speak(piece, speaker, speech.speed))
            samples = np.concatenate([spoken, pause])
            for start in range(0, len(samples), step):
                chunk = resampler.process(samples[start : start + step])
                if len(chunk):
                    yield chunk
        rest = resampler.process(np.zeros(0, np.int16), last=True)
        if len(rest):
            yield rest
