"""Audio on the wire: chunked anyhow, it comes out as the same samples."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.realtime.formats import FORMATS, Microphone
from shared.audio import Int16, resample


def tone(rate: int, seconds: float) -> Int16:
    time_s = np.arange(round(rate * seconds)) / rate
    return (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)


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
