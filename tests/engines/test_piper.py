"""How Piper sounds, and its voices."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from piper.phoneme_ids import phonemes_to_ids
from piper.phonemize_espeak import EspeakPhonemizer

from shared.audio import Int16
from shared.registry import CannotStart
from shared.settings import Settings
from tests.support import piper_voices
from workers.tts.engines import Speech, TtsEngine, Voice, create

SENTENCE = "The quick brown fox jumps over the lazy dog."
JOE = "en_US-joe-medium"


def loaded(*models: str | Path) -> TtsEngine:
    engine = create(Settings(tts_engine="piper", tts_models=tuple(map(str, models))))
    engine.load()
    return engine


@pytest.fixture(scope="module")
def piper() -> Iterator[TtsEngine]:
    started = loaded()
    yield started
    started.close()


def say(
    engine: TtsEngine, text: str, speed: float = 1.0, voice: str | None = None, rate: int = 24_000
) -> Int16:
    spoken = engine.synthesize(Speech(text, voice=voice, speed=speed, sample_rate=rate))
    return np.concatenate([np.zeros(0, np.int16), *spoken])


def test_piper_is_neither_faint_nor_clipped(piper: TtsEngine) -> None:
    for text in ("Sure!", SENTENCE):
        audio = say(piper, text).astype(np.float64) / 32_768
        assert 0.1 < np.abs(audio).max() < 1
        assert -35 < 10 * np.log10(np.mean(audio**2)) < -15


def test_piper_refuses_a_speed_that_is_none(piper: TtsEngine) -> None:
    with pytest.raises(ValueError, match="speed must be above 0, not 0"):
        say(piper, "Hello.", speed=0)


def test_each_voice_speaks_with_the_phonemes_of_its_language(tmp_path: Path) -> None:
    def voice(language: str) -> Path:
        return piper_voices.spelling(
            tmp_path,
            language,
            {"a": 1_000, "b": 2_000},
            espeak={"voice": language},
            language={"code": language},
        )

    engine = loaded(JOE, voice("fr"), voice("es"))
    french, spanish = ([Voice(f"{code}#{n}", code) for n in "ab"] for code in ("fr", "es"))
    assert list(engine.voices) == [Voice(JOE, "en"), *french, *spanish]
    phonemes = EspeakPhonemizer()
    for language in ("fr", "es"):
        [sentence] = phonemes.phonemize(language, "Deux table.")
        expected = np.array(phonemes_to_ids(sentence)) / 1_000 * 32_768
        audio = say(engine, "Deux table.", voice=f"{language}#a", rate=22_050)
        assert audio.tolist() == np.rint(expected).tolist()
    assert len(say(engine, "Deux table.")) > 10_000


def test_a_model_of_several_speakers_is_a_voice_for_each(tmp_path: Path) -> None:
    duo = piper_voices.spelling(tmp_path, "duo", {"alto": 2_000, "soprano": 1_000})
    engine = loaded(duo, JOE)
    assert [voice.name for voice in engine.voices] == ["duo#soprano", "duo#alto", JOE]
    alto, soprano, usual = (
        say(engine, "Hello.", voice=name, rate=22_050) for name in ("duo#alto", "duo#soprano", None)
    )
    assert np.abs(soprano - 2 * alto.astype(int)).max() <= 1
    assert usual.tolist() == soprano.tolist()


@pytest.mark.parametrize(
    ("changes", "language"),
    [
        ({"language": {"code": "zh_CN"}, "espeak": {"voice": "cmn"}}, "zh"),
        ({"language": {}, "espeak": {"voice": "cmn"}}, "zh"),
        ({"language": {}, "espeak": {"voice": "es-419"}}, "es"),
        ({"language": {"code": "pt_BR"}}, "pt"),
    ],
)
def test_the_language_of_a_voice_is_that_of_its_configuration(
    tmp_path: Path, changes: dict[str, object], language: str
) -> None:
    engine = loaded(piper_voices.joe(tmp_path, "voice", **changes))
    assert engine.voices[0].language == language


def test_a_voice_that_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=f"must name the voice {JOE} only once"):
        loaded(JOE, JOE)
    pinyin = piper_voices.joe(tmp_path, "zh_CN-joe-medium", phoneme_type="pinyin")
    with pytest.raises(CannotStart, match=r"zh_CN-joe-medium .* not 'pinyin': choose another"):
        loaded(pinyin)
    (pinyin / "zh_CN-joe-medium.onnx.json").unlink()
    with pytest.raises(CannotStart, match=r"must have zh_CN-joe-medium\.onnx\.json beside it"):
        loaded(pinyin)
    (pinyin / "zh_CN-joe-medium.onnx").unlink()
    with pytest.raises(CannotStart, match=r"must hold one \.onnx file: .* has 0"):
        loaded(pinyin)
