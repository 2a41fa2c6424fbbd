"""Piper (VITS on onnxruntime): https://github.com/OHF-Voice/piper1-gpl."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from piper import PiperVoice
from piper.config import PhonemeType, PiperConfig

from shared.audio import Int16, Resampler, to_int16
from shared.models import resolve
from shared.registry import CannotStart, loaded
from shared.settings import Settings
from workers.tts.engines import Speech, Voice
from workers.tts.engines.piper_model import PiperModel

_CHUNK_S = 0.2
_WARM_UP = "Hello there, how are you today? I am ready."
# Double brackets hold raw phonemes for Piper, and espeak takes no null characters.
_NO_MARKUP = str.maketrans({"[": " ", "]": " ", "\0": " "})
# espeak's names of languages that ISO 639-1 has others for.
_ISO_639_1 = {"cmn": "zh", "nb": "no"}


@dataclass(frozen=True, slots=True)
class _Speaker:
    """A voice as Piper has it: a model, with its phonemes, and a number where the model has several
    speakers."""

    model: PiperModel
    phonemes: PiperVoice
    number: int | None


class PiperEngine:
    """A model for each voice; a sentence is synthesised in pieces, the first of them short.

    A voice is named as its model's file is, and speaks the language that its configuration states,
    with that language's phonemes. A model of several speakers is a voice for each of them:
    `fr_FR-upmc-medium#jessica`. A medium voice takes about 140 MB of memory, once in a worker,
    however many sessions it speaks to.

    Its loudness is the model's own. Piper's normalisation would scale every sentence to full
    scale, so that "Sure!" comes out 7 dB louder than the sentence after it (measured with
    en_US-joe-medium; the model's own levels stay within 4 dB).
    """

    name = "piper"
    works_ahead = True

    def __init__(self, settings: Settings) -> None:
        self.model = ", ".join(settings.speech_models)
        self.voices: Sequence[Voice] = ()
        self._settings = settings
        self._speakers: Mapping[str, _Speaker] | None = None

    def load(self) -> None:
        """As the interface has it.

        Raises:
            CannotStart: two voices have the same name, or a file is not what Piper takes.
        """
        voices: list[Voice] = []
        speakers: dict[str, _Speaker] = {}
        for name in self._settings.speech_models:
            file = _onnx(resolve(name, self._settings.models_dir))
            config = _configuration(file)
            phonemes = _phonemes(file, config)
            model = PiperModel.load(file, self._settings.tts_threads)
            for voice, speaker in _speakers(file.stem, model, phonemes):
                if voice in speakers:
                    raise CannotStart(f"PARLEY_TTS_MODELS must name the voice {voice} only once")
                speakers[voice] = speaker
                voices.append(Voice(voice, _language(config)))
            for _ in _spoken(speakers[voices[-1].name], Speech(_WARM_UP, None, 1.0, 24_000)):
                pass
        self.voices = voices
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
        yield from _spoken(speakers[speech.voice or self.voices[0].name], speech)


def _spoken(speaker: _Speaker, speech: Speech) -> Iterator[Int16]:
    rate: int = speaker.phonemes.config.sample_rate
    resampler = Resampler(rate, speech.sample_rate)
    step = round(_CHUNK_S * rate)
    for sentence in speaker.phonemes.phonemize(speech.text.translate(_NO_MARKUP)):
        if not sentence:
            continue
        for piece in speaker.model.speak(_inputs(speaker, sentence, speech.speed)):
            samples = to_int16(piece)
            for start in range(0, len(samples), step):
                chunk = resampler.process(samples[start : start + step])
                if len(chunk):
                    yield chunk
    rest = resampler.process(np.zeros(0, np.int16), last=True)
    if len(rest):
        yield rest


def _inputs(speaker: _Speaker, sentence: list[str], speed: float) -> dict[str, NDArray[Any]]:
    """A sentence's phonemes as the models take them."""
    config = speaker.phonemes.config
    numbers = speaker.phonemes.phonemes_to_ids(sentence)
    scales = [config.noise_scale, config.length_scale / speed, config.noise_w_scale]
    inputs: dict[str, NDArray[Any]] = {
        "input": np.array([numbers], np.int64),
        "input_lengths": np.array([len(numbers)], np.int64),
        "scales": np.array(scales, np.float32),
    }
    if speaker.number is not None:
        inputs["sid"] = np.array([speaker.number], np.int64)
    return inputs


def _onnx(path: Path) -> Path:
    """The voice's model file: `path` itself, or the only one in that folder."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) != 1:
        raise CannotStart(
            f"a Piper voice's folder must hold one .onnx file: {path} has {len(found)}"
        )
    return found[0]


def _configuration(file: Path) -> dict[str, Any]:
    path = file.with_name(f"{file.name}.json")
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CannotStart(f"the Piper voice {file} must have {path.name} beside it") from error
    return config


def _phonemes(file: Path, config: dict[str, Any]) -> PiperVoice:
    """What makes a voice's phonemes of text; it speaks nothing."""
    settings = PiperConfig.from_dict(config)
    # The others need packages of their own, and the one for pinyin fetches data when it is used.
    if settings.phoneme_type not in (PhonemeType.ESPEAK, PhonemeType.TEXT):
        raise CannotStart(
            f"the Piper voice {file.stem} must have phonemes of espeak or none, not"
            f" {settings.phoneme_type.value!r}: choose another voice of its language"
        )
    return PiperVoice(session=None, config=settings)


def _speakers(name: str, model: PiperModel, phonemes: PiperVoice) -> Iterator[tuple[str, _Speaker]]:
    """The voices of a model, the usual one first."""
    config = phonemes.config
    if config.num_speakers == 1:
        yield name, _Speaker(model, phonemes, None)
        return
    unnamed = {str(number): number for number in range(config.num_speakers)}
    numbers = config.speaker_id_map or unnamed
    for speaker, number in sorted(numbers.items(), key=lambda pair: pair[1]):
        yield f"{name}#{speaker}", _Speaker(model, phonemes, number)


def _language(config: dict[str, Any]) -> str:
    """The ISO 639-1 code of what a voice speaks; voices made long ago name only espeak's voice."""
    named: str = config.get("language", {}).get("code") or config["espeak"]["voice"]
    family = named.replace("_", "-").partition("-")[0].lower()
    return _ISO_639_1.get(family, family)
