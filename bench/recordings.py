"""The recordings of the starter pack, cut into turns as Parley hears them, and noise to add."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from shared.audio import SAMPLE_RATE, Float32, Int16, to_float32, to_int16
from shared.keys import Keyspace
from shared.messages import Frame, SpeechStarted, SttJob, TurnDetection
from shared.models import resolve
from shared.settings import Settings
from workers.vad.engines import VadEngine
from workers.vad.listener import Listener

_SILENCE = np.zeros(SAMPLE_RATE, np.int16)
_RULES = TurnDetection(silence_ms=300)
_BABBLE_VOICES = 12
_LOWEST_HZ = 30
_READERS = {
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


@dataclass(frozen=True, slots=True)
class Recording:
    """Somebody saying `text`; int16 (n,) at 16 kHz."""

    speakers: str
    name: str
    language: str
    text: str
    audio: Int16


@dataclass(frozen=True, slots=True)
class Turn:
    """The samples of a turn in `quiet_around` a recording, with the silence that belongs to it."""

    start: int
    end: int


def samples(settings: Settings) -> Iterator[Recording]:
    """Short sentences in nine languages, spoken by a machine."""
    for path in sorted(resolve("speech-samples", settings.models_dir).glob("*/*.wav")):
        text = path.with_suffix(".txt").read_text("utf-8")
        yield Recording("samples", path.stem, path.parent.name, text, read(path))


def readers(settings: Settings) -> Iterator[Recording]:
    """People who read English aloud."""
    folder = resolve("speech-readers", settings.models_dir)
    for name, text in _READERS.items():
        yield Recording("readers", name, "en", text, read(next(folder.glob(f"**/{name}.wav"))))


def read(path: Path) -> Int16:
    """A file of any format and rate as int16 (n,) at 16 kHz."""
    return to_int16(decode_audio(str(path), sampling_rate=SAMPLE_RATE))


def quiet_around(audio: Int16) -> Int16:
    """The recording with a second of silence before it and after it."""
    return np.concatenate([_SILENCE, audio, _SILENCE])


def turns(audio: Int16, vad: VadEngine) -> list[Turn]:
    """The turns that a session with 300 ms of end-of-turn silence hears in a recording."""
    session = Keyspace(1, 1).session("sess_bench")
    listener = Listener(session, vad.initial_state())
    listener.turn_detection = _RULES
    listener.accept(Frame(session.session_id, 0, quiet_around(audio).tobytes(), 0), "0-0")
    found, start = [], 0
    while listener.has_window:
        probability, state = vad.step(listener.window()[None], listener.model_state[None])
        heard = listener.advance(float(probability[0]), state[0], now_ms=0)
        if heard is None:
            continue
        for message in heard.messages:
            if isinstance(message, SpeechStarted):
                start = message.at
        if heard.job is not None:
            assert isinstance(heard.job, SttJob)
            found.append(Turn(start, start + len(heard.job.pcm) // 2))
    return found


class Noises:
    """Noise of several kinds, float32 (n,), as loud on average as 1; the same in every run."""

    def __init__(self, seed: int, voices: Sequence[Int16]) -> None:
        self._random = np.random.default_rng(seed)
        self._voices = voices

    def pink(self, length: int) -> Float32:
        """Noise whose power falls with the frequency, as that of most places does."""
        spectrum = np.fft.rfft(self._random.standard_normal(length))
        hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        return normal(np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, _LOWEST_HZ)), length))

    def babble(self, length: int) -> Float32:
        """Twelve recordings at once, each in a loop from anywhere."""
        chosen = self._random.choice(len(self._voices), _BABBLE_VOICES)
        loops = [
            np.roll(
                np.resize(normal(self._voices[number].astype(np.float64)), length),
                self._random.integers(length),
            )
            for number in chosen
        ]
        return normal(np.sum(loops, axis=0))


def mixed(audio: Int16, noise: Float32, loudness: float, snr_db: float) -> Int16:
    """A recording whose speech is as loud as `loudness`, with noise `snr_db` below it."""
    level = np.float32(loudness * 10 ** (-snr_db / 20))
    return to_int16(to_float32(audio) + noise * level)


def loudness(audio: Int16) -> float:
    """The root mean square, full scale being 1."""
    return float(np.sqrt(np.mean(to_float32(audio).astype(np.float64) ** 2)))


def normal(audio: NDArray[np.float64]) -> Float32:
    """The same as loud on average as 1."""
    return (audio / np.sqrt(np.mean(audio**2))).astype(np.float32)
