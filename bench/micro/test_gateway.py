"""What a gateway does for every frame of every session, and for every piece of an answer."""

import base64

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from gateway.playout import Playout
from gateway.protocols.realtime.formats import FORMATS, Microphone
from gateway.protocols.realtime.incoming import Append, parse
from shared.audio import SAMPLE_RATE
from shared.ids import new_id
from shared.messages import Frame, LaneEntry, decode, encode

_FRAME_S = 0.02
_CHUNK = 2_400  # 100 ms at 24 kHz
_BLOCK = 192  # the samples at 16 kHz that a resampler gives at once, or keeps


def noise(samples: int) -> bytes:
    """PCM16, always the same."""
    return np.random.default_rng(0).integers(-9_000, 9_000, samples, np.int16).tobytes()


@pytest.mark.benchmark(group="an append of 20 ms")
def test_parse(benchmark: BenchmarkFixture) -> None:
    audio = noise(round(_FRAME_S * 24_000))
    encoded = base64.b64encode(audio).decode()
    text = f'{{"type":"input_audio_buffer.append","audio":"{encoded}"}}'
    parsed = benchmark(parse, text)
    assert isinstance(parsed, Append)
    assert parsed.audio == audio


@pytest.mark.benchmark(group="an append of 20 ms")
@pytest.mark.parametrize("name", FORMATS)
def test_microphone(benchmark: BenchmarkFixture, name: str) -> None:
    """Decoding, and resampling to 16 kHz with a session's own state."""
    heard = FORMATS[name]
    microphone = Microphone(heard)
    audio = noise(SAMPLE_RATE)[: round(_FRAME_S * heard.second_bytes)]
    microphone.take(audio * 10)  # until the resampler holds back as much as it will
    samples = benchmark(microphone.take, audio)
    assert abs(len(samples) - _FRAME_S * SAMPLE_RATE) <= _BLOCK


def entry(frames: int) -> LaneEntry:
    """A lane's entry of so many sessions' frames."""
    pcm = noise(round(_FRAME_S * SAMPLE_RATE))
    return LaneEntry(records=[Frame(new_id("sess"), 0, pcm, 0) for _ in range(frames)])


@pytest.mark.benchmark(group="frames of a lane's entry")
@pytest.mark.parametrize("frames", [1, 10, 100])
def test_encode(benchmark: BenchmarkFixture, frames: int) -> None:
    written = entry(frames)
    assert decode(benchmark(encode, written), LaneEntry) == written


@pytest.mark.benchmark(group="frames of a lane's entry")
@pytest.mark.parametrize("frames", [1, 10, 100])
def test_decode(benchmark: BenchmarkFixture, frames: int) -> None:
    written = entry(frames)
    assert benchmark(decode, encode(written), LaneEntry) == written


@pytest.mark.benchmark(group="a second of an answer")
def test_playout(benchmark: BenchmarkFixture) -> None:
    """Ten chunks in, and out as they come due."""
    chunk = noise(_CHUNK)

    def play() -> int:
        playout = Playout(24_000, lead_s=0.2)
        sent = 0
        for number in range(10):
            playout.add(0, number * _CHUNK, chunk, final=number == 9)
            sent += sum(len(piece.samples) for piece in playout.take(number / 10))
        return sent

    assert benchmark(play) == 10 * _CHUNK
