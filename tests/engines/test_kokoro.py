"""Kokoro, with its real weights: the voices of the starter pack speak Japanese."""

# ruff: noqa: RUF001 - phonemes look like other letters

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from shared.audio import Int16
from shared.gpu import Card, NoGpu
from shared.models import resolve
from shared.registry import CannotStart
from shared.settings import Settings
from workers.stt.engines import Utterance
from workers.stt.engines import create as create_stt
from workers.tts.engines import Speech, TtsEngine, Voice, create

if TYPE_CHECKING:
    from workers.tts.engines.kokoro_phonemes import Phonemiser

pytestmark = pytest.mark.torch_engine

MODEL = "kokoro-82m-ja"
JAPANESE = "こんにちは、今日はとても良い天気ですね。一緒に公園を散歩しましょう。"


def settings(*models: str | Path, **more: object) -> Settings:
    named = {"tts_engine": "kokoro", "tts_models": tuple(map(str, models)), **more}
    return Settings.model_validate(named)


@pytest.fixture(scope="module")
def kokoro() -> Iterator[TtsEngine]:
    """The engine, loaded and at work with no network."""
    engine = create(settings(MODEL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _no_network)
        patch.setattr(socket, "getaddrinfo", _no_network)
        engine.load()
        yield engine
        engine.close()


def _no_network(*_: object) -> None:
    raise AssertionError("Kokoro asks the network")


def say(engine: TtsEngine, text: str, speed: float = 1.0, rate: int = 24_000) -> Int16:
    spoken = engine.synthesize(Speech(text, voice="jf_alpha", speed=speed, sample_rate=rate))
    return np.concatenate([np.zeros(0, np.int16), *spoken])


def test_its_voices_tell_their_language_by_their_name(kokoro: TtsEngine) -> None:
    assert Voice("jf_alpha", "ja") in kokoro.voices
    assert {voice.language for voice in kokoro.voices} == {"ja"}
    assert len(kokoro.voices) == 5


def test_what_it_says_is_understood(kokoro: TtsEngine) -> None:
    ear = create_stt(Settings(stt_engine="whisper", stt_model="whisper-base"))
    ear.load()
    [heard] = ear.transcribe([Utterance(say(kokoro, JAPANESE, rate=16_000), "ja")])
    for words in ("こんにちは", "天気ですね", "一緒に公園を散歩"):
        assert words in heard.text, heard.text


def test_a_voices_name_decides_which_language_it_speaks(tmp_path: Path) -> None:
    """A style is a manner of speaking, whatever the language: one does for all of them here."""
    [model], [voices] = (resolve(MODEL).glob(kind) for kind in ("*.onnx", "voices*"))
    style = np.load(voices)["jf_alpha"]
    names = ("af_bella", "af_heart", "ef_dora", "zf_xiaoni")
    np.savez(tmp_path / "voices.npz", **dict.fromkeys(names, style))
    (tmp_path / "model.onnx").symlink_to(model)
    engine = create(settings(tmp_path))
    engine.load()
    heart, bella, *others = engine.voices
    assert [heart, bella] == [Voice("af_heart", "en"), Voice("af_bella", "en")]
    assert others == [Voice("ef_dora", "es"), Voice("zf_xiaoni", "zh")]
    ear = create_stt(Settings(stt_engine="whisper", stt_model="whisper-base"))
    ear.load()
    for voice, text, words in (
        (heart, "I would like to book a table for two people.", "book a table for two"),
        (others[0], "Me gustaría reservar una mesa para dos personas.", "mesa para dos personas"),
        (others[1], "你好，今天天气很好。", "你好今天"),
    ):
        spoken = [*engine.synthesize(Speech(text, voice.name, 1.0, 16_000))]
        [heard] = ear.transcribe([Utterance(np.concatenate(spoken), voice.language)])
        assert words in heard.text, heard.text


def test_it_is_neither_faint_nor_clipped_and_pauses_after_a_sentence(kokoro: TtsEngine) -> None:
    audio = say(kokoro, JAPANESE).astype(np.float64) / 32_768
    assert 0.1 < np.abs(audio).max() < 1
    assert -35 < 10 * np.log10(np.mean(audio**2)) < -15
    assert not audio[-round(0.24 * 24_000) :].any()


def test_speeds_beyond_its_own_are_its_slowest_and_fastest(kokoro: TtsEngine) -> None:
    with pytest.raises(ValueError, match="speed must be above 0, not 0"):
        say(kokoro, "はい。", speed=0)
    assert len(say(kokoro, "はい。", speed=0.1)) == len(say(kokoro, "はい。", speed=0.5))
    assert len(say(kokoro, "はい。", speed=9)) == len(say(kokoro, "はい。", speed=2))


@pytest.fixture(scope="module")
def phonemisers() -> dict[str, "Phonemiser"]:
    from kokoro_onnx import Tokenizer

    from workers.tts.engines.kokoro_phonemes import LANGUAGES, phonemiser

    Tokenizer()
    return {letter: phonemiser(letter) for letter in LANGUAGES}


@pytest.mark.parametrize(
    ("letter", "text", "phonemes"),
    [
        ("a", "Hello, world!", "həlˈoʊ, wˈɜːld!"),
        ("b", "Hello, world!", "həlˈəʊ, wˈɜːld!"),
        ("e", "Hola, ¿qué tal?", "ˈola, ¿kˈe tˈal?"),
        ("f", "Bonjour (à tous).", "bɔ̃ʒˈuʁ (a tˈus)."),
        ("f", "Le week-end.", "lə- wˈiːkˈɛnd."),
        ("j", "東京です。", "toːkʲoː desɨ."),
        ("z", "你好，世界。", "ni↓xau↓, ʂɨ↘ʨje↘."),
    ],
)
def test_each_language_has_its_phonemes(
    phonemisers: "dict[str, Phonemiser]", letter: str, text: str, phonemes: str
) -> None:
    assert phonemisers[letter](text) == phonemes


@pytest.mark.parametrize("text", ["", " ", "...", "\0", "🙂", "[[", "ß" * 200, "你好 hello ไทย"])
def test_no_text_is_too_odd_for_a_language(phonemisers: "dict[str, Phonemiser]", text: str) -> None:
    for phonemise in phonemisers.values():
        assert isinstance(phonemise(text), str)


def test_a_model_that_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"must name one model for Kokoro, .* not 'one, two'"):
        create(settings("one", "two")).load()
    with pytest.raises(CannotStart, match=r"must hold one voices\*: .* has 0"):
        create(settings(tmp_path)).load()
    np.savez(tmp_path / "voices.npz", xf_nobody=np.zeros((510, 1, 256), np.float32))
    [model] = resolve(MODEL).glob("*.onnx")
    (tmp_path / "model.onnx").symlink_to(model)
    with pytest.raises(CannotStart, match=r"must begin with one of a, b, .* not 'x'"):
        create(settings(tmp_path)).load()


def test_a_package_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "misaki.cutlet", None)
    with pytest.raises(CannotStart, match=r"voices for 'ja' need the package 'misaki\.cutlet'"):
        create(settings(MODEL)).load()


def test_without_a_gpu_it_does_not_go_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(NoGpu, match="PARLEY_DEVICE=cpu"):
        create(settings(MODEL, device="cuda")).load()


@pytest.mark.parametrize(
    ("total_gb", "message"),
    [(24, "onnxruntime-gpu in place of onnxruntime"), (4, "PARLEY_TTS_GPU_MEMORY_FRACTION")],
)
def test_a_gpu_takes_its_package_and_memory(
    monkeypatch: pytest.MonkeyPatch, total_gb: int, message: str
) -> None:
    def card() -> Card:
        return Card("a card", total_gb * 10**9, total_gb * 10**9)

    monkeypatch.setattr("shared.gpu.card", card)
    monkeypatch.setattr("workers.tts.engines.kokoro_session.card", card)
    with pytest.raises(CannotStart, match=message):
        create(settings(MODEL, device="cuda")).load()
