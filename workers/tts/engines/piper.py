"""Piper (VITS on onnxruntime): https://github.com/OHF-Voice/piper1-gpl."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from piper import PiperVoice
from piper.config import PiperConfig, SynthesisConfig

from shared.audio import Int16, Resampler, to_int16
from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.tts.engines import Speech, Voice

_CHUNK_S = 0.2
_WARM_UP = "Hello there, how are you today? I am ready."
# Double brackets hold raw phonemes for Piper, and espeak takes no null characters.
_NO_MARKUP = str.maketrans({"[": " ", "]": " ", "\0": " "})


class PiperEngine:
    """One voice; a sentence is synthesised whole and then handed out in chunks.

    Its loudness is the model's own. Piper's normalisation would scale every sentence to full
    scale, so that "Sure!" comes out 7 dB louder than the sentence after it (measured with
    en_US-joe-medium; the model's own levels stay within 4 dB).
    """

    name = "piper"

    def __init__(self, settings: Settings) -> None:
        self.model = settings.speech_models[0]
        self.voices = [Voice(self.model, self.model.partition("_")[0])]
        self._models_dir = settings.models_dir
        self._threads = settings.tts_threads
        self._voice: PiperVoice | None = None

    def load(self) -> None:
        file = _onnx(resolve(self.model, self._models_dir))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        # A spinning thread takes its core away from the other stages.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        config = json.loads(file.with_name(f"{file.name}.json").read_text("utf-8"))
        self._voice = PiperVoice(session=session, config=PiperConfig.from_dict(config))
        for _ in self.synthesize(Speech(_WARM_UP, None, 1.0, 24_000)):
            pass

    def close(self) -> None:
        self._voice = None

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        """As the interface has it.

        Raises:
            ValueError: a speed of 0 or below.
        """
        voice = loaded(self._voice, self.name)
        if speech.speed <= 0:
            raise ValueError(f"speed must be above 0, not {speech.speed}")
        synthesis = SynthesisConfig(
            length_scale=voice.config.length_scale / speech.speed, normalize_audio=False
        )
        resampler = Resampler(voice.config.sample_rate, speech.sample_rate)
        step = round(_CHUNK_S * voice.config.sample_rate)
        for sentence in voice.synthesize(speech.text.translate(_NO_MARKUP), synthesis):
            samples = to_int16(sentence.audio_float_array)
            for start in range(0, len(samples), step):
                chunk = resampler.process(samples[start : start + step])
                if len(chunk):
                    yield chunk
        rest = resampler.process(np.zeros(0, np.int16), last=True)
        if len(rest):
            yield rest


def _onnx(path: Path) -> Path:
    """The voice's model file: `path` itself, or the only one in that folder."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) != 1:
        raise ValueError(f"{path} must hold one .onnx file, not {len(found)}")
    return found[0]
