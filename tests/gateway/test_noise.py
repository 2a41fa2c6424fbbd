"""Noise reduction: steady noise goes, the rest stays where it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocols.realtime.formats import FORMATS, Microphone
from gateway.protocols.realtime.noise import NoiseReduction
from shared.audio import Int16, read_wav

DATA = Path(__file__).parents[1] / "data"
RATE = 16_000
NEAR: dict[str, Any] = {"type": "near_field"}
FAR: dict[str, Any] = {"type": "far_field"}


def hiss(seconds: float, loudness: float = 300) -> Int16:
    random = np.random.default_rng(5)
    return (loudness * random.standard_normal(round(seconds * RATE))).astype(np.int16)


def reduced(audio: Int16, wanted: dict[str, Any], cuts: list[int] | None = None) -> Int16:
    reduction = NoiseReduction(wanted)
    chunks = np.split(audio, sorted(cuts or []))
    return np.concatenate([*map(reduction.process, chunks), reduction.end()])


def decibels(audio: Int16) -> float:
    return 10 * float(np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-9))


@pytest.mark.parametrize(("wanted", "least"), [(NEAR, 5), (FAR, 10)])
def test_steady_noise_goes(wanted: dict[str, Any], least: float) -> None:
    noise = hiss(4)
    learned = slice(2 * RATE, None)
    assert decibels(noise[learned]) - decibels(reduced(noise, wanted)[learned]) >= least


@pytest.mark.parametrize("wanted", [NEAR, FAR])
@pytest.mark.parametrize("name", ["question", "question-sky"])
def test_a_voice_stays_and_stays_where_it_was(name: str, wanted: dict[str, Any]) -> None:
    said, rate = read_wav(DATA / f"{name}.wav")
    assert rate == RATE
    out = reduced(said, wanted)
    assert decibels(said) - decibels(out) < 2
    size = 2 * len(said)
    spectrum = np.fft.rfft(out.astype(float), size) * np.conj(np.fft.rfft(said.astype(float), size))
    shift = int(np.argmax(np.fft.irfft(spectrum)))
    assert shift in (0, 1, size - 1)  # the processor's high-pass filter turns phases a little


@settings(deadline=None)
@given(length=st.integers(0, 3_000), cuts=st.lists(st.integers(0, 3_000), max_size=8))
def test_any_chunks_give_the_same_and_no_sample_is_lost(length: int, cuts: list[int]) -> None:
    noise = hiss(0.2)[:length]
    out = reduced(noise, NEAR, [cut for cut in cuts if cut <= length])
    assert len(out) == length
    assert np.array_equal(out, reduced(noise, NEAR))


def test_no_strength_changes_nothing_and_half_is_in_between() -> None:
    noise = hiss(3)
    assert np.array_equal(reduced(noise, {**FAR, "strength": 0}), noise)
    half, whole = reduced(noise, {**FAR, "strength": 0.5}), reduced(noise, FAR)
    assert decibels(whole) < decibels(half) < decibels(noise)


def test_what_was_learned_of_the_noise_is_kept_from_turn_to_turn() -> None:
    noise = hiss(2)
    learned, fresh = NoiseReduction(FAR), NoiseReduction(FAR)
    for _ in range(3):
        first = Microphone(FORMATS["audio/pcm"], noise=learned)
        first.take(noise.tobytes())
        first.end()
    turn = noise[: RATE // 5].tobytes()

    def heard(reduction: NoiseReduction) -> Int16:
        microphone = Microphone(FORMATS["audio/pcm"], noise=reduction)
        return np.concatenate([microphone.take(turn), microphone.end()])

    assert decibels(heard(learned)) < decibels(heard(fresh)) - 2


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_microphone_loses_no_sample_to_it(name: str) -> None:
    audio_format = FORMATS[name]
    microphone = Microphone(audio_format, noise=NoiseReduction(NEAR))
    sent = audio_format.encode(hiss(1)[: audio_format.rate // 10])
    heard = [microphone.take(sent[:101]), microphone.take(sent[101:]), microphone.end()]
    assert sum(map(len, heard)) == RATE // 10


def test_nobody_gets_it_who_does_not_ask() -> None:
    assert NoiseReduction.of(None) is None
    assert NoiseReduction.of(NEAR) is not None
