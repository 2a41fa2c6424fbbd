"""Audio on the wire: chunked anyhow, it comes out as the same samples."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocols.realtime.formats import FORMATS, Microphone
from shared.audio import Int16, Resampler, resample


def tone(rate: int, seconds: float) -> Int16:
    time_s = np.arange(round(rate * seconds)) / rate
    return (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)


def sweep(rate: int, seconds: float) -> Int16:
    """A tone that rises from 100 to 3,000 Hz, at any rate the same."""
    time_s = np.arange(round(rate * seconds)) / rate
    cycles = 100 * time_s + 2_900 * time_s**2 / (2 * seconds)
    return np.rint(8_000 * np.sin(2 * np.pi * cycles)).astype(np.int16)


def heard(microphone: Microphone, *chunks: bytes) -> Int16:
    return np.concatenate([*map(microphone.take, chunks), microphone.end()])


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("milliseconds", [100, 101, 1_000])
def test_no_sample_is_lost_between_the_wire_and_the_end(name: str, milliseconds: int) -> None:
    audio_format = FORMATS[name]
    sent = audio_format.encode(tone(audio_format.rate, milliseconds / 1000))
    assert len(heard(Microphone(audio_format), sent)) == milliseconds * 16


@given(cuts=st.lists(st.integers(0, 4_800), max_size=20))
def test_any_cutting_gives_the_same_samples(cuts: list[int]) -> None:
    pcm = tone(24_000, 0.1).tobytes()
    bounds = [0, *sorted(cuts), len(pcm)]
    chunks = [pcm[start:end] for start, end in pairwise(bounds)]
    microphone = Microphone(FORMATS["audio/pcm"])
    assert np.array_equal(heard(microphone, *chunks), resample(tone(24_000, 0.1), 24_000, 16_000))


# --- a sweep has no seam ---

SECONDS = 0.5
SIZES = st.lists(st.integers(1, 997), min_size=1, max_size=8)


def cut(length: int, sizes: list[int]) -> list[tuple[int, int]]:
    """Where `length` is cut into pieces of these sizes, over and over."""
    bounds = [0]
    while bounds[-1] < length:
        bounds.append(min(bounds[-1] + sizes[len(bounds) % len(sizes)], length))
    return list(pairwise(bounds))


def assert_no_seam(audio: Int16, rate: int) -> None:
    """What a sweep became is as loud throughout, and rises steadily: a sample that is lost, doubled
    or wrong would show in its phase."""
    spectrum = np.fft.fft(audio.astype(float))
    spectrum[len(audio) // 2 :] = 0  # what is left is analytic: it has a phase at each sample
    analytic = 2 * np.fft.ifft(spectrum)
    hertz = np.diff(np.unwrap(np.angle(analytic))) * rate / (2 * np.pi)
    expected = 100 + 2_900 * (np.arange(len(hertz)) + 0.5) / rate / SECONDS
    settled = slice(len(audio) // 8, -len(audio) // 8)  # a sweep's sudden ends ring
    assert np.abs(hertz - expected)[settled].max() < 25
    assert np.abs(np.abs(analytic)[settled] / 8_000 - 1).max() < 0.02


def test_a_seam_would_be_found() -> None:
    audio = sweep(16_000, SECONDS)
    assert_no_seam(audio, 16_000)
    middle = len(audio) // 2
    shorter = np.concatenate([audio[:middle], audio[middle + 1 :]])
    with pytest.raises(AssertionError):
        assert_no_seam(shorter, 16_000)


@settings(deadline=None, max_examples=25)
@given(name=st.sampled_from(sorted(FORMATS)), sizes=SIZES)
def test_a_sweep_comes_in_the_same_however_it_is_cut(name: str, sizes: list[int]) -> None:
    audio_format = FORMATS[name]
    sent = audio_format.encode(sweep(audio_format.rate, SECONDS))
    whole = heard(Microphone(audio_format), sent)
    pieces = [sent[start:end] for start, end in cut(len(sent), sizes)]
    assert np.array_equal(heard(Microphone(audio_format), *pieces), whole)


def test_a_sweep_comes_in_without_a_seam() -> None:
    pcm = sweep(24_000, SECONDS).tobytes()
    pieces = [pcm[start:end] for start, end in cut(len(pcm), [1, 7, 961, 3])]
    assert_no_seam(heard(Microphone(FORMATS["audio/pcm"]), *pieces), 16_000)


@pytest.mark.parametrize("voice_rate", [16_000, 22_050, 24_000])
@pytest.mark.parametrize("rate", sorted({known.rate for known in FORMATS.values()}))
def test_a_sweep_goes_out_without_a_seam(voice_rate: int, rate: int) -> None:
    """Piece by piece, as a synthesiser makes it at its own rate."""
    made = sweep(voice_rate, SECONDS)
    resampler = Resampler(voice_rate, rate)
    pieces = [resampler.process(made[start:end]) for start, end in cut(len(made), [1, 7, 961, 3])]
    sent = np.concatenate([*pieces, resampler.process(made[:0], last=True)])
    assert np.array_equal(sent, resample(made, voice_rate, rate))
    assert_no_seam(sent, rate)


def test_half_a_sample_waits_for_the_rest() -> None:
    microphone = Microphone(FORMATS["audio/pcm"])
    pcm = tone(24_000, 0.1).tobytes()
    first, second = microphone.take(pcm[:1]), microphone.take(pcm[1:])
    assert len(first) == 0
    assert np.array_equal(
        np.concatenate([second, microphone.end()]), heard(Microphone(FORMATS["audio/pcm"]), pcm)
    )


def test_half_a_sample_at_the_end_is_no_sample() -> None:
    pcm = tone(24_000, 0.1).tobytes()
    assert len(heard(Microphone(FORMATS["audio/pcm"]), pcm + b"\x01")) == 1_600


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
def test_telephone_formats_come_back_within_their_precision(name: str) -> None:
    samples = tone(8_000, 0.1)
    audio_format = FORMATS[name]
    back = audio_format.decode(audio_format.encode(samples))
    assert np.abs(back.astype(int) - samples).max() <= 260
