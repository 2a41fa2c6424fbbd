"""Whisper on CTranslate2 (https://github.com/SYSTRAN/faster-whisper), with short windows.

Whisper was trained on windows of 30 s, and the time it takes to encode one is most of the time
a short utterance takes. CTranslate2's encoder accepts shorter windows, so an utterance gets one
a little longer than itself. Two things keep the decoder from looping over a short window, as it
likes to with one or two words: at least 8 s of it, filled up with silence, and timestamps, which
tell the decoder that it is past the end. What the decoder is less sure of there is recognised again
in 12 s, and what loops or looks doubtful all the same in the full window, with the temperature
fallback of the original.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray

from shared.audio import SAMPLE_RATE, Float32, Int16, to_float32
from shared.gpu import check_fits
from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.stt.engines import Transcript, Utterance
from workers.stt.engines.cublas import load_cublas

_FRAMES_PER_S = 100
# Windows come in few sizes so that utterances of like length share a batch, and one that is
# transcribed with others gets the window it would get alone.
_WINDOWS_S = (8, 12, 16, 22, 30)
_SHORTEST_S, _SECOND_S = _WINDOWS_S[:2]
_MARGIN_S = 1.0
_LEAST_S = 0.1  # no word is shorter
# As many as faster-whisper's defaults search. Greedy decoding takes 0.85 of the time of five beams
# and loses more in noise (docs/performance/recognition.md).
_BEAMS = 5
# Of what is encoded together, utterances times the window's square: the memory that attention
# takes. Eight of 16 s, or two of 30 s.
_BATCH_S2 = 8 * 16**2
# Beside the weights, estimated from the shapes of large-v3: one utterance of such a batch, and the
# beams of one over 30 s.
_UTTERANCE_BYTES, _BEAMS_BYTES = 100_000_000, 500_000_000

# Below it no language is sure. Of 206 recordings and pieces of some, in nine languages and down to
# 0.6 s, base heard 169 right, 152 of these above it, and 37 wrong, 11 of these above it.
_LANGUAGE_PROB = 0.5
# No speech: of silence, noise and tones the lowest was 0.67. Of recorded and synthetic speech the
# highest was 0.5, but for a Polish sentence of which base understands nothing, 0.69.
_NO_SPEECH_PROB = 0.6
# Sure enough in the shortest window: of people's clean turns two thirds to four fifths are.
_SURE_LOG_PROB = -0.6
# OpenAI's thresholds for a decoding that went wrong.
_COMPRESSION_RATIO = 2.4
_LOG_PROB = -1.0
# People read aloud at up to 20 characters a second; one word in a short clip may exceed that.
_CHARACTERS_PER_S, _SPARE_CHARACTERS = 25, 15
# The nine languages tried took up to 10 tokens a second; timestamps and the start come on top.
# Only a bound on what a loop costs: who reaches it is recognised again without it.
_TOKENS_PER_S, _SPARE_TOKENS = 12, 16


@dataclass(frozen=True, slots=True)
class _Guess:
    """What the short window gave, with what there is to judge it by."""

    text: str
    tokens: int
    log_prob: float
    no_speech_prob: float


class WhisperEngine:
    """Short windows, in batches; 30 s and higher temperatures where that fails.

    CTranslate2 cannot be held to a share of the GPU's memory. Its worker keeps to its own because
    what is encoded together is bounded.
    """

    name = "whisper"
    works_ahead = True

    def __init__(self, settings: Settings) -> None:
        self.model = settings.model("stt")
        self._settings = settings
        self._whisper: WhisperModel | None = None
        self._languages: list[str] = []

    @property
    def languages(self) -> list[str]:
        loaded(self._whisper, self.name)
        return self._languages

    def load(self) -> None:
        path = resolve(self.model, self._settings.models_dir)
        if self._settings.on_gpu:
            needed = _gpu_bytes(path, self._settings.stt_batch)
            check_fits("stt", f"the model {self.model!r}", needed, self._settings)
            load_cublas()
        whisper = self._whisper = WhisperModel(
            str(path),
            device="cuda" if self._settings.on_gpu else "cpu",
            compute_type="float16" if self._settings.on_gpu else "int8",
            cpu_threads=self._settings.stt_threads,
        )
        mels = whisper.model.n_mels
        if len(whisper.feature_extractor.mel_filters) != mels:
            # Converted without its preprocessor_config.json, a large-v3 is taken for a large-v2.
            whisper.feature_extractor = FeatureExtractor(feature_size=mels)
        # Cantonese came with large-v3.
        self._languages = [
            language
            for language in whisper.supported_languages
            if not whisper.model.is_multilingual
            or whisper.hf_tokenizer.token_to_id(f"<|{language}|>") is not None
        ]
        self.transcribe([Utterance(np.zeros(SAMPLE_RATE, np.int16))])

    def close(self) -> None:
        self._whisper = None

    def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        whisper = loaded(self._whisper, self.name)
        for utterance in batch:
            _check(utterance.language, self._languages)
        transcripts: dict[int, Transcript] = {}
        waiting: dict[int, list[int]] = defaultdict(list)
        for index, utterance in enumerate(batch):
            seconds = len(utterance.pcm) / SAMPLE_RATE
            fitting = [w for w in _WINDOWS_S if w >= seconds + _MARGIN_S]
            if seconds < _LEAST_S:
                transcripts[index] = Transcript("", utterance.language, seconds)
            elif fitting:
                waiting[fitting[0]].append(index)
            else:
                transcripts[index] = _in_full(whisper, utterance, utterance.language, long=True)
        for window_s in _WINDOWS_S:
            indices, most = waiting[window_s], _BATCH_S2 // window_s**2
            for start in range(0, len(indices), most):
                few = indices[start : start + most]
                found = _in_short_window(whisper, [batch[index] for index in few], window_s)
                for index, transcript in zip(few, found, strict=True):
                    if transcript is None:
                        waiting[_SECOND_S].append(index)
                    else:
                        transcripts[index] = transcript
        return [transcripts[index] for index in range(len(batch))]


def _gpu_bytes(path: Path, batch: int) -> int:
    """What a model takes of the GPU's memory: its weights, which are kept as 16-bit numbers as in
    the file of nearly every model, and what it works with."""
    return (path / "model.bin").stat().st_size + batch * _UTTERANCE_BYTES + _BEAMS_BYTES


def _check(language: str | None, known: Sequence[str]) -> None:
    if language is not None and language not in known:
        raise ValueError(f"language must be one of {', '.join(sorted(known))}, not {language!r}")


def _in_short_window(
    whisper: WhisperModel, group: Sequence[Utterance], window_s: int
) -> list[Transcript | None]:
    """What was said, None where the second window is to tell."""
    features = np.stack([_features(whisper, utterance.pcm, window_s) for utterance in group])
    encoded = whisper.model.encode(ctranslate2.StorageView.from_array(features))
    languages = _languages(whisper, group, encoded)
    tokenizers = [
        Tokenizer(
            whisper.hf_tokenizer,
            whisper.model.is_multilingual,
            task="transcribe",
            language=language,
        )
        for language, _ in languages
    ]
    prompts = [
        whisper.get_prompt(tokenizer, _hint(tokenizer, utterance))
        for tokenizer, utterance in zip(tokenizers, group, strict=True)
    ]
    longest_s = max(len(utterance.pcm) for utterance in group) / SAMPLE_RATE
    results = whisper.model.generate(
        encoded,
        prompts,
        beam_size=_BEAMS,
        max_length=min(448, max(map(len, prompts)) + _most_tokens(longest_s)),
        return_scores=True,
        return_no_speech_prob=True,
    )
    return [
        _judge(whisper, utterance, language, _guess(tokenizer, result), window_s)
        for utterance, language, tokenizer, result in zip(
            group, languages, tokenizers, results, strict=True
        )
    ]


def _features(whisper: WhisperModel, pcm: Int16, window_s: int) -> Float32:
    """The log-mel spectrogram of an utterance filled up with silence: (mels, frames)."""
    audio = np.zeros(window_s * SAMPLE_RATE, np.float32)
    audio[: len(pcm)] = to_float32(pcm)
    features: NDArray[Any] = whisper.feature_extractor(audio)
    return np.ascontiguousarray(features[:, : window_s * _FRAMES_PER_S], np.float32)


def _languages(
    whisper: WhisperModel, group: Sequence[Utterance], encoded: ctranslate2.StorageView
) -> list[tuple[str, float]]:
    """Each utterance's language and how probable it is: the one it names, else the one heard."""
    if not whisper.model.is_multilingual:
        return [("en", 1.0)] * len(group)
    named = [(utterance.language or "", 1.0) for utterance in group]
    if all(language for language, _ in named):
        return named
    heard = [
        (best[0][0].strip("<|>"), best[0][1]) for best in whisper.model.detect_language(encoded)
    ]
    return [name if name[0] else found for name, found in zip(named, heard, strict=True)]


def _if_sure(language: str, probability: float) -> str | None:
    return language if probability >= _LANGUAGE_PROB else None


def _hint(tokenizer: Tokenizer, utterance: Utterance) -> list[int]:
    return tokenizer.encode(f" {utterance.prompt.strip()}") if utterance.prompt else []


def _guess(tokenizer: Tokenizer, result: Any) -> _Guess:
    tokens = result.sequences_ids[0]
    # CTranslate2's score is the mean over the tokens; OpenAI's counts the end token as well.
    log_prob = result.scores[0] * len(tokens) / (len(tokens) + 1)
    text = tokenizer.decode(tokens).strip()
    return _Guess(text, len(tokens), log_prob, result.no_speech_prob)


def _judge(
    whisper: WhisperModel,
    utterance: Utterance,
    language: tuple[str, float],
    guess: _Guess,
    window_s: int,
) -> Transcript | None:
    seconds = len(utterance.pcm) / SAMPLE_RATE
    if guess.no_speech_prob > _NO_SPEECH_PROB:
        return Transcript("", utterance.language, seconds)
    doubtful = _doubtful(guess, seconds)
    if window_s == _SHORTEST_S and (doubtful or guess.log_prob < _SURE_LOG_PROB):
        return None
    if doubtful:
        return replace(_in_full(whisper, utterance, language[0]), language=_if_sure(*language))
    return Transcript(guess.text, _if_sure(*language), seconds)


def _most_tokens(seconds: float) -> int:
    return _SPARE_TOKENS + round(_TOKENS_PER_S * seconds)


def _doubtful(guess: _Guess, seconds: float) -> bool:
    return (
        not any(character.isalnum() for character in guess.text)
        or guess.log_prob < _LOG_PROB
        or guess.tokens >= _most_tokens(seconds)
        or len(guess.text) > _CHARACTERS_PER_S * seconds + _SPARE_CHARACTERS
        or _compression_ratio(guess.text) > _COMPRESSION_RATIO
        or _is_repetition(guess.text)
    )


def _compression_ratio(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _is_repetition(text: str) -> bool:
    """Whether the whole text is one phrase over and over, too short for zlib to tell."""
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return any(
        len(words) % size == 0 and words == words[:size] * (len(words) // size)
        for size in range(1, len(words) // 2 + 1)
    )


def _in_full(
    whisper: WhisperModel, utterance: Utterance, language: str | None, long: bool = False
) -> Transcript:
    """Recognises an utterance of any length as faster-whisper does, 30 s at a time."""
    segments, info = whisper.transcribe(
        to_float32(utterance.pcm),
        language=language,
        initial_prompt=utterance.prompt,
        condition_on_previous_text=False,  # or one bad window spoils those after it
        vad_filter=long,  # in long silences it makes words up
    )
    text = "".join(segment.text for segment in segments).strip()
    spoken = _if_sure(info.language, info.language_probability) if text else utterance.language
    return Transcript(text, spoken, len(utterance.pcm) / SAMPLE_RATE, full_window=True)
