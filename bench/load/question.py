"""The recording that callers ask, as the messages that carry it."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.audio import Int16, read_wav, resample

_FRAME_S = 0.02
_WINDOW_S = 0.01
_VOICED_DB = -30.0
"""Below the loudest 10 ms of a recording: what is fainter is not speech."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question in frames: `speech` is what to send, one message a frame, `silence` the message of
    a frame after it. The first and the last voiced sample are in the frames `first` and `last`."""

    speech: list[bytes | str]
    silence: bytes | str
    first: int
    last: int
    frame_s: float

    @property
    def seconds(self) -> float:
        return len(self.speech) * self.frame_s


def realtime(path: Path) -> Question:
    """For OpenAI's protocol: appends of 20 ms of PCM16 at 24 kHz, in base64, in JSON.

    Raises:
        AudioError: no 16-bit PCM WAV file.
        OSError: it cannot be read.
    """
    return _question(path, 24_000, round(_FRAME_S * 24_000), _append)


def original(path: Path) -> Question:
    """For the original protocol: binary messages of 1,024 samples at 16 kHz. Raises likewise."""
    return _question(path, 16_000, 1024, lambda frame: frame.astype("<i2").tobytes())


def _append(frame: Int16) -> str:
    audio = base64.b64encode(frame.astype("<i2").tobytes()).decode()
    return f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}'


def _question(
    path: Path, rate: int, frame: int, message: Callable[[Int16], bytes | str]
) -> Question:
    samples, recorded = read_wav(path)
    samples = resample(samples, recorded, rate)
    voiced = voiced_samples(samples, rate)
    frames = [*_frames(samples[: voiced.stop], frame)]
    return Question(
        [message(each) for each in frames],
        message(np.zeros(frame, np.int16)),
        voiced.start // frame,
        len(frames) - 1,
        frame / rate,
    )


def _frames(samples: Int16, size: int) -> Iterator[Int16]:
    padded = np.append(samples, np.zeros(-len(samples) % size, np.int16))
    return iter(padded.reshape(-1, size))


def voiced_samples(samples: Int16, rate: int) -> range:
    """From the first sample of speech in int16 (n,) to after the last, by loudness, to 10 ms."""
    size = round(_WINDOW_S * rate)
    windows = samples[: len(samples) - len(samples) % size].reshape(-1, size).astype(np.float64)
    loudness = np.sqrt(np.mean(windows**2, axis=1))
    voiced = np.flatnonzero(loudness > loudness.max(initial=1.0) * 10 ** (_VOICED_DB / 20))
    if not len(voiced):
        return range(0, len(samples))
    return range(int(voiced[0]) * size, (int(voiced[-1]) + 1) * size)
