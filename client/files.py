"""Recordings as the protocol takes them."""

from pathlib import Path

import numpy as np

from client.microphone import SAMPLE_RATE
from shared.audio import AudioError, Int16, read_wav, resample


def read_audio(path: str | Path) -> Int16:
    """A recording at any rate, its channels averaged: int16 (n,) at 24 kHz.

    WAV files of 16 bits are read without further ado. All else that libsndfile reads (FLAC, Ogg,
    Opus, MP3, AIFF, WAV of any width) takes the package soundfile: `pip install parley[talk]`.

    Raises:
        AudioError: not such a file; or it takes soundfile, which is not installed.
        OSError: the file cannot be read.
    """
    path = Path(path)
    try:
        samples, rate = read_wav(path)
    except AudioError as error:
        samples, rate = _read_any(path, error)
    return resample(samples, rate, SAMPLE_RATE)


def _read_any(path: Path, problem: AudioError) -> tuple[Int16, int]:
    try:
        import soundfile
    except ImportError:
        raise AudioError(
            f"{problem}; other recordings take the package soundfile: pip install 'parley[talk]'"
        ) from problem
    try:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path} must be a recording: {error.error_string}") from error
    return np.rint(samples.mean(axis=1)).astype(np.int16), rate
