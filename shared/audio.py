"""Audio as arrays: PCM16, rates, G.711 and WAV files.

Audio is mono throughout. `int16` is what travels (PCM16, little-endian on the wire);
`float32` in [-1, 1) is what models take.
"""

import math
import os
import wave
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Rate in Hz of audio between the processes."""

# libsoxr reads it when a stream begins, there is no argument for it: 2**9 samples.
_LARGEST_BLOCK = "9"
os.environ["SOXR_LARGE_DFT_SIZE"] = _LARGEST_BLOCK
# What then comes out of one block from 24 to 16 kHz, in samples.
_BLOCK = 184

Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]

_SCALE = np.float32(32768)
# Of one step of int16: far below what it resolves, far above float32's subnormal numbers.
_HUSH = np.float32(1e-10)
_LOWEST, _HIGHEST = np.float32(-32768), np.float32(32767)


class AudioError(ValueError):
    """Audio that is not what it claims to be; the message says what was expected."""


def pcm16(data: bytes | bytearray | memoryview) -> Int16:
    """Little-endian PCM16 bytes as an int16 array (n,) over the same memory, not copied.

    Raises:
        AudioError: an odd number of bytes.
    """
    if len(data) % 2:
        raise AudioError(
            f"PCM16 audio must have an even number of bytes, two a sample, not {len(data)}"
        )
    samples: Int16 = np.frombuffer(data, dtype="<i2")
    return samples


def to_float32(samples: Int16) -> Float32:
    """int16 (n,) to float32 (n,) in [-1, 1): divided by 32768, exact."""
    scaled = samples.astype(np.float32)
    scaled /= _SCALE
    return scaled


def to_int16(samples: Float32) -> Int16:
    """float32 (n,) to int16 (n,): times 32768, rounded to nearest, clipped outside [-1, 1)."""
    return _rounded(samples * _SCALE)


def _rounded(scaled: Float32) -> Int16:
    """float32 (n,) on int16's scale to int16 (n,): rounded and clipped, in place."""
    np.rint(scaled, out=scaled)
    np.maximum(scaled, _LOWEST, out=scaled)
    np.minimum(scaled, _HIGHEST, out=scaled)
    return scaled.astype(np.int16)


class Resampler:
    """Changes a stream's sample rate without a seam between its chunks.

    Chunks in any sizes give, sample for sample, what one call with the whole stream gives.
    With `last=True` the rest comes out: n samples in give n * out_rate / in_rate out, within
    two samples. Equal rates pass everything through untouched.

    The converter is soxr's. Its fixed-rate form works in blocks, which `_LARGEST_BLOCK` keeps
    small: at MQ it then holds back 5 to 16 ms of audio between 24 and 16 kHz, 4 to 19 from 22.05 to
    24, where its own blocks hold back 38 and 43. Its variable-rate form, with the ratio held
    constant, filters in the time domain. At three to six times the cost it holds back 15 ms from 16
    to 8 kHz and 30 from 8 to 16, where blocks hold back up to 54, so it has the telephone's rates.
    Both let everything through below eight tenths of the lower Nyquist frequency, with noise and
    aliases below -105 dB, which is less than int16 resolves.

    Of digital silence, which microphones send that are muted or gated, the variable-rate form's
    recursive filters would keep echoes that fade into subnormal numbers, at eight times the cost of
    any other sound. So everything is louder by a constant that nobody hears.
    """

    def __init__(self, in_rate: int, out_rate: int, at: int = 0) -> None:
        """`in_rate` and `out_rate` in Hz, positive.

        One that goes on with a stream at output sample `at` gives, 112 ms later, what one gives
        that heard all of it: from 24 and 8 kHz to 16 sample for sample.
        """
        # float32 inside: soxr dithers int16 output, which would make every run differ.
        self._stream = None if in_rate == out_rate else _stream(in_rate, out_rate)
        self._skipped = 0
        if self._stream is not None and at:
            self._fall_into_step(in_rate, out_rate, at)

    def _fall_into_step(self, in_rate: int, out_rate: int, at: int) -> None:
        """Begins with silence, for blocks to begin where the stream's own do: blocks that lie
        otherwise round otherwise, by a step of int16."""
        behind = at % _BLOCK
        self._skipped = behind - behind % (out_rate // math.gcd(in_rate, out_rate))
        self.process(np.zeros(self._skipped * in_rate // out_rate, np.int16))

    def process(self, chunk: Int16, last: bool = False) -> Int16:
        """The next output samples: int16 (n,) in, int16 (m,) out; m may be 0.

        After `last=True` the stream is over, and another call raises RuntimeError.
        """
        if self._stream is None:
            return chunk
        # on int16's scale, in place: every frame of every session comes through here
        samples = chunk.astype(np.float32)
        samples += _HUSH
        resampled = _rounded(self._stream.resample_chunk(samples, last=last))
        if self._skipped:
            before = len(resampled)
            resampled = resampled[self._skipped :]
            self._skipped -= before - len(resampled)
        return resampled


def _stream(in_rate: int, out_rate: int) -> soxr.ResampleStream:
    slow = min(in_rate, out_rate) < SAMPLE_RATE
    quality = "HQ" if slow else "MQ"
    return soxr.ResampleStream(in_rate, out_rate, 1, dtype="float32", quality=quality, vr=slow)


def resample(samples: Int16, in_rate: int, out_rate: int) -> Int16:
    """A whole recording, int16 (n,), at another rate in Hz."""
    return Resampler(in_rate, out_rate).process(samples, last=True)


# ITU-T G.711: eight segments of sixteen intervals. Each table gives, for the magnitudes of one
# sign on the scale of int16, where an interval begins (the decision values) and the value in its
# middle that stands for it.


_CODES: Int32 = np.arange(128, dtype=np.int32)


def _mulaw_levels() -> tuple[Int32, Int32]:
    """Decision and output values of mu-law, int32 (128,); G.711's 14-bit scale times 4."""
    segment, step = _CODES // 16, _CODES % 16
    begins: Int32 = (((32 + 2 * step) << segment) - 33) * 4
    values: Int32 = (((33 + 2 * step) << segment) - 33) * 4
    return begins.clip(min=0), values


def _alaw_levels() -> tuple[Int32, Int32]:
    """Decision and output values of A-law, int32 (128,); G.711's 13-bit scale times 8."""
    segment, step = _CODES // 16, _CODES % 16
    # The first two segments have equal intervals: together they are one straight line.
    shift = np.maximum(segment - 1, 0)
    offset = np.minimum(segment, 1) * 32
    begins: Int32 = ((offset + 2 * step) << shift) * 8
    values: Int32 = ((offset + 2 * step + 1) << shift) * 8
    return begins, values


def _decode_table(values: Int32, mask: int) -> Int16:
    """int16 (256,): the sample of every code, whose bits `mask` the standard inverts."""
    codes = np.arange(256) ^ mask
    magnitudes = values[codes & 0x7F].astype(np.int16)
    samples: Int16 = np.where(codes & 0x80, magnitudes, -magnitudes)
    return samples


def _encode_table(begins: Int32, mask: int) -> NDArray[np.uint8]:
    """uint8 (65536,): the code of every sample, by its bits read as uint16."""
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    # A negative magnitude is the one's complement, as in the ITU's reference code (G.191).
    magnitudes = np.where(samples < 0, ~samples, samples)
    codes = np.searchsorted(begins, magnitudes, side="right") - 1
    return ((np.where(samples < 0, 0, 0x80) | codes) ^ mask).astype(np.uint8)


_MULAW_MASK, _ALAW_MASK = 0x7F, 0x55
_MULAW_BEGINS, _MULAW_VALUES = _mulaw_levels()
_ALAW_BEGINS, _ALAW_VALUES = _alaw_levels()
_MULAW_DECODE = _decode_table(_MULAW_VALUES, _MULAW_MASK)
_MULAW_ENCODE = _encode_table(_MULAW_BEGINS, _MULAW_MASK)
_ALAW_DECODE = _decode_table(_ALAW_VALUES, _ALAW_MASK)
_ALAW_ENCODE = _encode_table(_ALAW_BEGINS, _ALAW_MASK)


def mulaw_decode(data: bytes) -> Int16:
    """G.711 mu-law, one byte a sample, to int16 (n,)."""
    return _MULAW_DECODE[np.frombuffer(data, np.uint8)]


def mulaw_encode(samples: Int16) -> bytes:
    """int16 (n,) to G.711 mu-law, one byte a sample."""
    return _MULAW_ENCODE[samples.view(np.uint16)].tobytes()


def alaw_decode(data: bytes) -> Int16:
    """G.711 A-law, one byte a sample, to int16 (n,)."""
    return _ALAW_DECODE[np.frombuffer(data, np.uint8)]


def alaw_encode(samples: Int16) -> bytes:
    """int16 (n,) to G.711 A-law, one byte a sample."""
    return _ALAW_ENCODE[samples.view(np.uint16)].tobytes()


def read_wav(path: Path) -> tuple[Int16, int]:
    """A 16-bit PCM WAV file: samples int16 (n,), channels averaged, and the rate in Hz.

    Raises:
        AudioError: not a PCM WAV file, or not 16 bits a sample.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as raw, wave.open(raw, "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends too early"
        raise AudioError(f"{path} must be a PCM WAV file: {reason}") from error
    if width != 2:
        raise AudioError(f"{path} must have 16 bits a sample, not {8 * width}")
    # A recorder that was cut off leaves part of a frame behind.
    whole = len(data) - len(data) % (2 * channels)
    samples = pcm16(data[:whole])
    if channels == 1:
        return samples, rate
    return np.rint(samples.reshape(-1, channels).mean(axis=1)).astype(np.int16), rate


def write_wav(path: Path, samples: Int16, rate: int) -> None:
    """Write int16 (n,) at `rate` Hz as a mono 16-bit WAV file.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as raw, wave.open(raw, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2", copy=False).tobytes())
