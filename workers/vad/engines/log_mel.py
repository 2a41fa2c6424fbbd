"""The log-mel spectrogram that Whisper hears: what its encoder, and models made of it, take.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, section 2.2:
80 bands on windows of 25 ms every 10 ms; the mel scale is Slaney's (Auditory Toolbox, 1998).
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from shared.audio import SAMPLE_RATE, Float32

MELS = 80
HOP = 160

_WINDOW = 400
_FLOOR = 1e-10
_RANGE = 8.0  # powers of ten below the loudest that are told apart

# Slaney's scale: linear up to 1 kHz, which is 15 mel, logarithmic above.
_HZ_PER_MEL = 200 / 3
_KNEE_HZ, _KNEE_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27


def log_mel(audio: Float32) -> Float32:
    """The spectrogram of `audio`, float32 (n,) at 16 kHz with n > 200: float32 (80, n // 160)."""
    padded = np.pad(audio, _WINDOW // 2, mode="reflect")
    windows = sliding_window_view(padded, _WINDOW)[::HOP][: len(audio) // HOP]
    spectrum = np.fft.rfft(windows * _hann(), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    bands = np.log10(np.maximum(_filters() @ power.T, _FLOOR))
    bands = np.maximum(bands, bands.max() - _RANGE)
    return ((bands + 4) / 4).astype(np.float32)


@cache
def _hann() -> NDArray[np.float64]:
    """One period of a raised cosine."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)


@cache
def _filters() -> NDArray[np.float64]:
    """What each of 201 frequencies adds to each band: triangles of equal area, (80, 201)."""
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    edges = _hz(np.linspace(0, _mel(SAMPLE_RATE / 2), MELS + 2))
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return triangles * 2 / (high - low)


def _mel(hz: float) -> float:
    """Of a frequency above the knee."""
    return _KNEE_MEL + float(np.log(hz / _KNEE_HZ)) / _LOG_STEP


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, above)
