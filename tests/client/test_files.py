"""Recordings in whatever form they come."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from client import SAMPLE_RATE, read_audio
from shared.audio import AudioError, write_wav
from tests.client.realtime_server import Script
from tests.client.talking import talking
from tests.stages import until

TONE = (8_000 * np.sin(np.arange(44_100) * 2 * np.pi * 440 / 44_100)).astype(np.int16)


def loudest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(spectrum.argmax() * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")],
)
def test_recordings(tmp_path: Path, name: str, subtype: str) -> None:
    soundfile.write(tmp_path / name, np.stack([TONE, TONE], axis=1), 44_100, subtype)
    samples = read_audio(tmp_path / name)
    assert samples.dtype == np.int16
    assert abs(len(samples) - SAMPLE_RATE) < 50
    assert loudest_hz(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples).max() == pytest.approx(8_000, rel=0.05)


def test_what_is_no_recording_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_text("This is not a recording.")
    with pytest.raises(AudioError, match=r"a\.flac must be a recording: .+"):
        read_audio(path)
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path / "missing.wav")


def test_without_soundfile_wav_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    write_wav(tmp_path / "a.wav", TONE, 44_100)
    assert len(read_audio(str(tmp_path / "a.wav"))) > 0
    (tmp_path / "a.flac").write_text("whatever")
    with pytest.raises(AudioError, match=r"PCM WAV file.*pip install 'parley\[talk\]'"):
        read_audio(tmp_path / "a.flac")


@pytest.mark.parametrize("realtime", [False, True])
async def test_a_file_is_sent_with_silence_after_it(tmp_path: Path, realtime: bool) -> None:
    said = np.full(4_800, 1_000, np.int16)
    write_wav(tmp_path / "a.wav", said, SAMPLE_RATE)
    async with talking(Script()) as (client, session):
        await client.send_file(tmp_path / "a.wav", realtime=realtime, silent_s=0.6)
        await until(lambda: len(session.heard) == 4_800 + 0.6 * SAMPLE_RATE)
        assert np.array_equal(session.heard[:4_800], said)
        assert not session.heard[4_800:].any()
        answer = await client.answer()
        assert (answer.heard, answer.text) == (Script().hears, "It is Paris.")
