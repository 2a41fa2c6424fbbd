"""Kokoro, 82 million parameters, on onnxruntime: https://github.com/thewh1teagle/kokoro-onnx.

Of the two packages that run it this one has releases still and needs neither torch nor spaCy. Its
phonemes are espeak-ng's (GPL-3, in a process of its own like Piper's) but for Japanese and Chinese,
whose are misaki's, Kokoro's own. All data comes in wheels: nothing is fetched when it runs.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kokoro_onnx import Kokoro
from kokoro_onnx.chunker import pause_after, split_phonemes

from shared.audio import Float32, Int16, Resampler, to_int16
from shared.models import resolve
from shared.registry import CannotStart, loaded
from shared.settings import Settings
from workers.tts.engines import Speech, Voice
from workers.tts.engines.kokoro_phonemes import LANGUAGES, phonemiser
from workers.tts.engines.kokoro_session import open_session

_SAMPLE_RATE = 24_000
_CHUNK_S = 0.2
# The best of Kokoro's voices, by its makers' own grades.
_USUAL_VOICE = "af_heart"
_SLOWEST, _FASTEST = 0.5, 2.0
# Of the 510 phonemes that the model takes at once: 7 s of speech, after which it may be left.
_LONGEST = 120
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")
# How long the model itself is silent there, and the library cuts off.
_SENTENCE_PAUSE_S, _CLAUSE_PAUSE_S = 0.25, 0.1


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The model; each voice's style, float32 (510, 1, 256); how each language is phonemised."""

    model: Kokoro
    styles: Mapping[str, Float32]
    phonemisers: Mapping[str, Callable[[str], str]]


class KokoroEngine:
    """One model for all voices, whose names begin with a letter for what they speak.

    A sentence is synthesised whole and then handed out in chunks. Slower than half or faster than
    twice as fast as usual it does not speak.
    """

    name = "kokoro"
    works_ahead = True

    def __init__(self, settings: Settings) -> None:
        self.model = ", ".join(settings.speech_models)
        self.voices: Sequence[Voice] = ()
        self._settings = settings
        self._loaded: _Loaded | None = None
        # What makes phonemes of text takes one text at a time.
        self._phonemising = threading.Lock()

    def load(self) -> None:
        """As the interface has it.

        Raises:
            CannotStart: a voice needs a package that is not here, there is more than one model, or
                its folder is not as it must be.
        """
        if len(self._settings.speech_models) != 1:
            raise CannotStart(
                "PARLEY_TTS_MODELS must name one model for Kokoro, which has all its voices,"
                f" not {self.model!r}"
            )
        folder = resolve(self.model, self._settings.models_dir)
        archive = _only(folder, "voices*")
        with np.load(archive) as styles:
            names = sorted(styles, key=lambda name: (name != _USUAL_VOICE, name))
            by_name = {name: styles[name] for name in names}
        session = open_session(_only(folder, "*.onnx"), self._settings)
        model = Kokoro.from_session(session, str(archive))
        phonemisers = {letter: phonemiser(letter) for letter in dict.fromkeys(n[0] for n in names)}
        self.voices = [Voice(name, LANGUAGES[name[0]]) for name in names]
        self._loaded = _Loaded(model, by_name, phonemisers)
        for _ in self.synthesize(Speech("Hello there, I am ready.", None, 1.0, _SAMPLE_RATE)):
            pass

    def close(self) -> None:
        self._loaded = None

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        """As the interface has it.

        Raises:
            ValueError: a speed of 0 or below.
        """
        kokoro = loaded(self._loaded, self.name)
        if speech.speed <= 0:
            raise ValueError(f"speed must be above 0, not {speech.speed}")
        voice = speech.voice or self.voices[0].name
        speed = min(max(speech.speed, _SLOWEST), _FASTEST)
        with self._phonemising:
            phonemes = kokoro.phonemisers[voice[0]](speech.text.replace("\0", " "))
        resampler = Resampler(_SAMPLE_RATE, speech.sample_rate)
        for piece in _pieces(kokoro.model.tokenizer.known(phonemes)):
            audio, _ = kokoro.model.create(piece, kokoro.styles[voice], speed, is_phonemes=True)
            yield from _chunks(resampler, to_int16(audio))
            pause_s = pause_after(piece, _SENTENCE_PAUSE_S, _CLAUSE_PAUSE_S) / speed
            yield from _chunks(resampler, np.zeros(round(pause_s * _SAMPLE_RATE), np.int16))
        rest = resampler.process(np.zeros(0, np.int16), last=True)
        if len(rest):
            yield rest


def _chunks(resampler: Resampler, samples: Int16) -> Iterator[Int16]:
    step = round(_CHUNK_S * _SAMPLE_RATE)
    for start in range(0, len(samples), step):
        chunk = resampler.process(samples[start : start + step])
        if len(chunk):
            yield chunk


def _pieces(phonemes: str) -> Iterator[str]:
    """What is synthesised at once: sentences, and parts of long ones."""
    for sentence in _SENTENCE_END.split(phonemes):
        for piece in split_phonemes(sentence, _LONGEST):
            if any(character.isalpha() for character in piece):
                yield piece


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise CannotStart(
            f"a Kokoro model's folder must hold one {pattern}: {folder} has {len(found)}"
        )
    return found[0]
