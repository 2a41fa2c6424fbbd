"""Audio helpers: exact conversions, no seams, G.711 as the standard has it."""

import wave
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.audio import (
    AudioError,
    Float32,
    Int16,
    Resampler,
    alaw_decode,
    alaw_encode,
    mulaw_decode,
    mulaw_encode,
    pcm16,
    read_wav,
    resample,
    to_float32,
    to_int16,
    write_wav,
)

ALL_SAMPLES = np.arange(-32768, 32768).astype(np.int16)
RATES = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000]
int16_arrays = hnp.arrays(np.int16, st.integers(0, 400))


def noise(samples: int) -> Int16:
    return np.random.default_rng(7).integers(-20_000, 20_000, samples).astype(np.int16)


def test_float_and_back_is_exact_for_every_sample() -> None:
    assert np.array_equal(to_int16(to_float32(ALL_SAMPLES)), ALL_SAMPLES)


def test_floats_outside_the_range_are_clipped() -> None:
    loud = np.array([-2.0, -1.0, 1.0, 1.5, np.inf, -np.inf], np.float32)
    assert to_int16(loud).tolist() == [-32768, -32768, 32767, 32767, 32767, -32768]


@settings(deadline=None)
@given(int16_arrays)
def test_pcm16_reads_what_was_written(samples: Int16) -> None:
    data = samples.astype("<i2").tobytes()
    assert np.array_equal(pcm16(data), samples)


def test_pcm16_shares_memory() -> None:
    data = bytearray(b"\x01\x00\xff\xff")
    samples = pcm16(data)
    data[0] = 5
    assert samples.tolist() == [5, -1]


@settings(deadline=None)
@given(st.binary(max_size=99).filter(lambda data: len(data) % 2 == 1))
def test_odd_pcm16_is_refused(data: bytes) -> None:
    with pytest.raises(AudioError, match=f"even number of bytes, two a sample, not {len(data)}"):
        pcm16(data)


@settings(deadline=None)
@given(
    st.sampled_from(RATES),
    st.sampled_from(RATES),
    st.integers(0, 6_000),
    st.lists(st.integers(0, 1_500), max_size=12),
)
def test_chunks_give_what_the_whole_gives(
    in_rate: int, out_rate: int, length: int, cuts: list[int]
) -> None:
    stream = noise(length)
    resampler = Resampler(in_rate, out_rate)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(resampler.process(stream[at : at + cut]))
        at += cut
    pieces.append(resampler.process(stream[at:], last=True))
    assert np.array_equal(np.concatenate(pieces), resample(stream, in_rate, out_rate))


@pytest.mark.parametrize("in_rate", [8_000, 24_000])
@pytest.mark.parametrize("at_ms", [1, 11, 12, 60, 1_007, 61_300])
@pytest.mark.parametrize("frame_ms", [1, 20, 500])
def test_one_that_goes_on_comes_to_the_same(in_rate: int, at_ms: int, frame_ms: int) -> None:
    stream = noise((at_ms + 500) * in_rate // 1000)
    heard = resample(stream, in_rate, 16_000)[at_ms * 16 :]
    resampler = Resampler(in_rate, 16_000, at_ms * 16)
    frame, start = frame_ms * in_rate // 1000, at_ms * in_rate // 1000
    frames = [stream[at : at + frame] for at in range(start, len(stream), frame)]
    pieces = [resampler.process(piece) for piece in frames]
    pieces.append(resampler.process(stream[:0], last=True))
    heard_again = np.concatenate(pieces)
    settled = 112 * 16
    assert len(heard_again) == len(heard)
    assert np.array_equal(heard_again[settled:], heard[settled:])


@settings(deadline=None)
@given(st.sampled_from(RATES), st.sampled_from(RATES), st.integers(0, 6_000))
def test_length_follows_the_ratio(in_rate: int, out_rate: int, length: int) -> None:
    assert abs(len(resample(noise(length), in_rate, out_rate)) - length * out_rate / in_rate) < 2


@pytest.mark.parametrize(
    ("in_rate", "out_rate", "least_ms", "most_ms"),
    [
        (24_000, 16_000, 5, 16),
        (16_000, 24_000, 5, 16),
        (22_050, 24_000, 4, 19),
        (8_000, 16_000, 30, 30),
        (16_000, 8_000, 15, 15),
    ],
)
def test_holds_back_what_is_documented(
    in_rate: int, out_rate: int, least_ms: int, most_ms: int
) -> None:
    resampler = Resampler(in_rate, out_rate)
    frame = in_rate // 50
    out = np.cumsum([len(resampler.process(noise(frame))) for _ in range(500)])
    held_ms = (20 * np.arange(1, 501) - 1000 * out / out_rate)[50:]
    assert (round(held_ms.min()), round(held_ms.max())) == (least_ms, most_ms)


@pytest.mark.parametrize(("in_rate", "out_rate"), [(16_000, 8_000), (24_000, 8_000)])
def test_no_echo_in_silence_becomes_a_subnormal_number(
    monkeypatch: pytest.MonkeyPatch, in_rate: int, out_rate: int
) -> None:
    """Processors are many times slower with them."""
    resampled = []

    class Overheard(soxr.ResampleStream):
        def resample_chunk(self, x: Float32, last: bool = False) -> Float32:
            out = super().resample_chunk(x, last=last)
            resampled.append(out.copy())
            return out

    monkeypatch.setattr(soxr, "ResampleStream", Overheard)
    resampler = Resampler(in_rate, out_rate)
    out = resampler.process(np.concatenate([noise(in_rate), np.zeros(9 * in_rate, np.int16)]))
    echoes = np.abs(np.concatenate(resampled))
    assert not np.any((echoes > 0) & (echoes < np.finfo(np.float32).tiny))
    assert not out[2 * out_rate :].any()


@pytest.mark.parametrize("in_rate", RATES)
@pytest.mark.parametrize("out_rate", RATES)
def test_a_tone_survives_and_nothing_else_appears(in_rate: int, out_rate: int) -> None:
    tone = (16_000 * np.sin(2 * np.pi * 1_000 * np.arange(in_rate) / in_rate)).astype(np.int16)
    out = resample(tone, in_rate, out_rate)[1_000:-1_000].astype(np.float64)
    phase = 2 * np.pi * 1_000 * np.arange(len(out)) / out_rate
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, out, rcond=None)
    assert np.hypot(*fit) == pytest.approx(16_000, rel=1e-3)
    assert np.std(out - basis @ fit) < 1.0  # int16's own rounding


@pytest.mark.parametrize("frequency", [9_000, 10_000, 11_500])
def test_what_the_lower_rate_cannot_hold_is_removed(frequency: int) -> None:
    tone = (16_000 * np.sin(2 * np.pi * frequency * np.arange(24_000) / 24_000)).astype(np.int16)
    assert np.abs(resample(tone, 24_000, 16_000)[1_000:-1_000]).max() <= 1


def test_equal_rates_pass_through() -> None:
    samples = noise(321)
    assert Resampler(24_000, 24_000).process(samples) is samples


# The bit-level algorithm of the ITU's reference code (G.191 `g711`), as opposed to the tables of
# decision values that the module is built from.


def reference_mulaw_encode(sample: int) -> int:
    magnitude = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
    segment = magnitude.bit_length() - 6
    low = (magnitude >> (segment + 1)) & 0x0F
    return (0x00 if sample < 0 else 0x80) | ((7 - segment) << 4) | (15 - low)


def reference_mulaw_decode(code: int) -> int:
    segment, low = ~code >> 4 & 7, ~code & 15
    magnitude = (((low << 1) + 33) << segment) - 33 << 2
    return magnitude if code & 0x80 else -magnitude


def reference_alaw_encode(sample: int) -> int:
    magnitude = (~sample if sample < 0 else sample) >> 4
    exponent = max(magnitude.bit_length() - 4, 0)
    if exponent > 1:
        magnitude >>= exponent - 1
    return ((0 if sample < 0 else 0x80) | exponent << 4 | magnitude & 15) ^ 0x55


def reference_alaw_decode(code: int) -> int:
    exponent, low = (code ^ 0x55) >> 4 & 7, (code ^ 0x55) & 15
    magnitude = (low << 4) + 8 if exponent == 0 else (low << 4) + 0x108 << exponent - 1
    return magnitude if code & 0x80 else -magnitude


def test_mulaw_is_bit_exact() -> None:
    expected = [reference_mulaw_encode(int(sample)) for sample in ALL_SAMPLES]
    assert list(mulaw_encode(ALL_SAMPLES)) == expected
    decoded = mulaw_decode(bytes(range(256))).tolist()
    assert decoded == [reference_mulaw_decode(code) for code in range(256)]


def test_alaw_is_bit_exact() -> None:
    expected = [reference_alaw_encode(int(sample)) for sample in ALL_SAMPLES]
    assert list(alaw_encode(ALL_SAMPLES)) == expected
    decoded = alaw_decode(bytes(range(256))).tolist()
    assert decoded == [reference_alaw_decode(code) for code in range(256)]


def test_values_printed_in_the_standard() -> None:
    """Ends and corners of G.711 tables 1a to 2b, on the scale of int16."""
    mulaw = {0xFF: 0, 0x7F: 0, 0x80: 8031 * 4, 0x00: -8031 * 4, 0xEF: 33 * 4, 0x90: 3999 * 4}
    alaw = {0xD5: 1 * 8, 0x55: -1 * 8, 0xAA: 4032 * 8, 0x2A: -4032 * 8, 0x8A: 1008 * 8}
    assert mulaw_decode(bytes(mulaw)).tolist() == list(mulaw.values())
    assert alaw_decode(bytes(alaw)).tolist() == list(alaw.values())


def test_g711_codes_survive_decoding_and_encoding() -> None:
    codes = bytes(range(256))
    assert alaw_encode(alaw_decode(codes)) == codes
    # Mu-law has two zeros; the positive one is sent.
    assert mulaw_encode(mulaw_decode(codes)) == codes.replace(b"\x7f", b"\xff")


@settings(deadline=None)
@given(int16_arrays, st.sampled_from(RATES))
def test_wav_files_come_back(
    tmp_path_factory: pytest.TempPathFactory, samples: Int16, rate: int
) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    write_wav(path, samples, rate)
    read, read_rate = read_wav(path)
    assert np.array_equal(read, samples)
    assert read_rate == rate


def write_raw(path: Path, data: bytes, channels: int, width: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(16_000)
        file.writeframes(data)
    return path


def test_stereo_is_mixed_down(tmp_path: Path) -> None:
    frames = np.array([[100, 300], [-32768, -32768], [32767, 32767]], "<i2")
    samples, _ = read_wav(write_raw(tmp_path / "stereo.wav", frames.tobytes(), 2, 2))
    assert samples.tolist() == [200, -32768, 32767]


def test_other_widths_are_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "wide.wav", b"\0" * 12, 1, 3)
    with pytest.raises(AudioError, match="must have 16 bits a sample, not 24"):
        read_wav(path)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3\x04 not a wav file at all, but music"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"song\.mp3 must be a PCM WAV file"):
        read_wav(path)
