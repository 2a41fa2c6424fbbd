"""What noise reduction does: `python -m bench.noise`, with the starter pack.

Prints what it costs, how much of noise alone is taken for speech, and the word error rate of
recordings that are mixed with noise.
"""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jiwer
import numpy as np
import typer
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from gateway.protocols.realtime.noise import NoiseReduction
from shared.audio import SAMPLE_RATE, Float32, Int16, to_float32, to_int16
from shared.models import resolve
from shared.settings import Settings
from workers.stt.engines import Utterance
from workers.stt.engines import create as create_stt
from workers.vad.engines import WINDOW
from workers.vad.engines import create as create_vad

Noise = Callable[[int], Float32]
"""So many samples of noise, as loud on average as 1."""

_REDUCTIONS = {"none": None, "near": {"type": "near_field"}, "far": {"type": "far_field"}}
_DISTANCES_DB = (10, 5)
_MODELS = ("whisper-tiny.en", "whisper-base")
_QUIET = np.zeros(SAMPLE_RATE, np.float32)
_LOUDNESS_ALONE = np.float32(0.05)
_TEXTS = {
    "beckett": "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better.",
    "two_cities": (
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the"
        " age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was"
        " the season of light, it was the season of darkness, it was the spring of hope, it was the"
        " winter of despair, we had everything before us, we had nothing before us, we were all"
        " going direct to heaven, we were all going direct the other way, in short, the period was"
        " so far like the present period, that some of its noisiest authorities insisted on its"
        " being received, for good or for evil, in the superlative degree of comparison only."
    ),
}


def main() -> None:
    settings = Settings()
    noises = _noises(settings)
    _cost(noises["hiss"])
    print(f"taken for speech of a minute of noise; reduction: {', '.join(_REDUCTIONS)}")
    for name, noise in noises.items():
        shares = (f"{share:7.1%}" for share in _taken_for_speech(settings, noise))
        print(f"  {name:8}", *shares)
    print(f"word error rate; reduction: {', '.join(_REDUCTIONS)}")
    said = list(_recordings(settings))
    for model in _MODELS:
        _recognise(settings.model_copy(update={"stt_model": model}), said, noises)


def _cost(noise: Noise) -> None:
    audio = to_int16(noise(60 * SAMPLE_RATE) * _LOUDNESS_ALONE)
    began = time.process_time()
    _reduced(audio, "far")
    print(f"{(time.process_time() - began) / 60:.2%} of a core for a session")


def _taken_for_speech(settings: Settings, noise: Noise) -> Iterator[float]:
    vad = create_vad(settings).vad
    vad.load()
    minute = to_int16(noise(60 * SAMPLE_RATE) * _LOUDNESS_ALONE)
    for reduction in _REDUCTIONS:
        windows = to_float32(_reduced(minute, reduction))
        windows = windows[: len(windows) // WINDOW * WINDOW].reshape(-1, 1, WINDOW)
        state, hits = vad.initial_state()[None], 0
        for window in windows:
            probability, state = vad.step(window, state)
            hits += int(probability[0] > 0.5)
        yield hits / len(windows)
    vad.close()


def _recognise(settings: Settings, said: list[tuple[Int16, str]], noises: dict[str, Noise]) -> None:
    engine = create_stt(settings)
    engine.load()
    for name, noise in {"nothing": _nothing, **noises}.items():
        for distance_db in _DISTANCES_DB if name != "nothing" else (0,):
            mixed = [_mixed(audio, noise, distance_db) for audio, _ in said]
            rates = []
            for reduction in _REDUCTIONS:
                utterances = [Utterance(_reduced(audio, reduction), "en") for audio in mixed]
                texts = [engine.transcribe([utterance])[0].text for utterance in utterances]
                rate = jiwer.wer([_words(text) for _, text in said], [*map(_words, texts)])
                rates.append(f"{rate:7.1%}")
            print(f"  {settings.stt_model:16} {name:8} {distance_db:2} dB", *rates, flush=True)
    engine.close()


def _mixed(audio: Int16, noise: Noise, distance_db: float) -> Int16:
    speech = to_float32(audio)
    loudness = np.sqrt(np.mean(speech**2)) * 10 ** (-distance_db / 20)
    whole = np.concatenate([_QUIET, speech, _QUIET])
    return to_int16(whole + noise(len(whole)) * np.float32(loudness))


def _reduced(audio: Int16, reduction: str) -> Int16:
    stage = NoiseReduction.of(_REDUCTIONS[reduction])
    return audio if stage is None else np.concatenate([stage.process(audio), stage.end()])


def _recordings(settings: Settings) -> Iterator[tuple[Int16, str]]:
    samples = resolve("speech-samples", settings.models_dir) / "en"
    for path in sorted(samples.glob("[!c]*.wav")):  # all but the one that counts
        yield _read(path), path.with_suffix(".txt").read_text("utf-8")
    readers = resolve("speech-readers", settings.models_dir)
    for name, text in _TEXTS.items():
        yield _read(next(readers.glob(f"**/{name}.wav"))), text


def _noises(settings: Settings) -> dict[str, Noise]:
    random = np.random.default_rng(4)
    folder = resolve("speech-samples", settings.models_dir)
    foreign = [_read(path) for path in sorted(folder.glob("[!e]*/*.wav"))]

    def coloured(length: int, power: float) -> Float32:
        spectrum = np.fft.rfft(random.standard_normal(length))
        hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        return _normal(np.fft.irfft(spectrum / np.maximum(hertz, 30) ** power, length))

    def voices(length: int) -> Float32:
        many = [
            np.roll(np.resize(voice, length), random.integers(length)) for voice in foreign[:12]
        ]
        return _normal(np.asarray(many, np.float64).sum(axis=0))

    def keys(length: int) -> Float32:
        clicks, fading = np.zeros(length), np.exp(-np.arange(400) / 60)
        for at in np.cumsum(random.uniform(1_300, 4_800, length // 4_800)).astype(int):
            clicks[at : at + 400] += (random.standard_normal(400) * fading)[: length - at]
        return _normal(clicks)

    return {
        "hiss": lambda length: coloured(length, 0),
        "fan": lambda length: coloured(length, 1),
        "voices": voices,
        "keys": keys,
    }


def _nothing(length: int) -> Float32:
    return np.zeros(length, np.float32)


def _normal(audio: NDArray[np.float64]) -> Float32:
    return (audio / np.sqrt(np.mean(audio**2))).astype(np.float32)


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def _read(path: Path) -> Int16:
    return to_int16(decode_audio(str(path), sampling_rate=SAMPLE_RATE))


if __name__ == "__main__":
    typer.run(main)
