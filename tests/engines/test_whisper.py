"""What Whisper understands, and how it is kept from making words up."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.recognition import words as in_words
from shared import gpu
from shared.audio import Int16
from shared.heartbeat import Offers
from shared.settings import Settings
from tests.engines.large_whisper import whisper_of_128_mels
from tests.support.words import word_error_rate, words
from workers.stt.engines import (
    SttEngine,
    Utterance,
    create,
    cublas,
    offers,
    whisper,
)

Sample = Callable[[str], tuple[Int16, str]]
Reader = Callable[[str], Int16]

BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."
TWO_CITIES = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the "
    "age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the "
    "season of light, it was the season of darkness, it was the spring of hope, it was the winter "
    "of despair, we had everything before us, we had nothing before us, we were all going direct "
    "to heaven, we were all going direct the other way, in short, the period was so far like the "
    "present period, that some of its noisiest authorities insisted on its being received, for "
    "good or for evil, in the superlative degree of comparison only."
)


def loaded(model: str) -> SttEngine:
    engine = create(Settings(stt_engine="whisper", stt_model=model))
    engine.load()
    return engine


@pytest.fixture(scope="module", params=["whisper-tiny.en", "whisper-base"])
def recogniser(request: pytest.FixtureRequest) -> Iterator[SttEngine]:
    started = loaded(request.param)
    yield started
    started.close()


@pytest.fixture(scope="module")
def multilingual() -> Iterator[SttEngine]:
    started = loaded("whisper-base")
    yield started
    started.close()


def hear(engine: SttEngine, pcm: Int16, language: str | None = "en") -> str:
    (transcript,) = engine.transcribe([Utterance(pcm, language)])
    return transcript.text


@pytest.mark.parametrize("name", ["hello_world", "quick_brown_fox"])
def test_clean_speech_is_understood_word_for_word(
    recogniser: SttEngine, samples: Sample, name: str
) -> None:
    pcm, said = samples(name)
    (transcript,) = recogniser.transcribe([Utterance(pcm)])
    assert words(transcript.text) == words(said)
    assert transcript.language == "en"
    assert not transcript.full_window


def test_a_pause_of_a_reader_does_not_end_the_transcript(
    recogniser: SttEngine, readers: Reader
) -> None:
    assert word_error_rate(BECKETT, hear(recogniser, readers("beckett"))) <= 0.1


def test_longer_than_a_window(recogniser: SttEngine, readers: Reader) -> None:
    (transcript,) = recogniser.transcribe([Utterance(readers("two_cities"), "en")])
    assert transcript.full_window
    assert word_error_rate(TWO_CITIES, transcript.text) <= 0.05


def test_what_looks_doubtful_is_heard_again_in_the_full_window(
    recogniser: SttEngine, samples: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "_doubtful", lambda guess, seconds: True)
    pcm, said = samples("quick_brown_fox")
    (transcript,) = recogniser.transcribe([Utterance(pcm, "en")])
    assert transcript.full_window
    assert words(transcript.text) == words(said)


@pytest.mark.parametrize(
    ("text", "tokens", "log_prob", "doubtful"),
    [
        ("The quick brown fox jumps.", 8, -0.3, False),
        ("No, not today.", 6, -0.3, False),
        ("Thank you. Thank you.", 8, -0.3, True),  # one phrase over and over
        ("and then he said, " * 10, 50, -0.1, True),  # zlib sees it
        ("The quick brown fox jumps.", 8, -1.2, True),  # the model is not sure
        ("The quick brown fox jumps.", 40, -0.3, True),  # it was cut off
        ("She sells sea shells by the shore, and so do all of her many sisters.", 20, -0.3, True),
        (". . .", 5, -0.3, True),  # not a word in it
    ],
)
def test_what_is_doubtful(text: str, tokens: int, log_prob: float, doubtful: bool) -> None:
    guess = whisper._Guess(text, tokens, log_prob, no_speech_prob=0.1)
    assert whisper._doubtful(guess, seconds=2.0) is doubtful


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("comptage", "fr"),
        ("conteo", "es"),
        ("contagem", "pt"),
        ("jishu", "zh"),
        ("kazoeru", "ja"),
    ],
)
def test_the_language_is_heard(
    multilingual: SttEngine, samples: Sample, name: str, language: str
) -> None:
    pcm, _ = samples(name)
    english = samples("quick_brown_fox")[0]
    both = multilingual.transcribe([Utterance(pcm), Utterance(english)])
    assert [transcript.language for transcript in both] == [language, "en"]


def test_a_language_that_was_named_is_not_asked_for(
    multilingual: SttEngine, samples: Sample
) -> None:
    pcm, said = samples("contagem")
    (transcript,) = multilingual.transcribe([Utterance(pcm, "pt")])
    assert transcript.language == "pt"
    # Whether it writes "um" or "1" is a close call, which differs from processor to processor.
    assert word_error_rate(in_words(said, "pt"), in_words(transcript.text, "pt")) <= 0.1


def test_an_english_model_takes_no_other_language_for_english(samples: Sample) -> None:
    english = loaded("whisper-tiny.en")
    with pytest.raises(ValueError, match="language must be one of en, not 'de'"):
        hear(english, samples("hello_world")[0], language="de")


def test_workers_say_which_languages_they_understand() -> None:
    assert offers(loaded("whisper-tiny.en")) == Offers(languages=("en",))
    many = offers(loaded("whisper-base")).languages
    assert len(many) >= 99
    assert {"en", "de", "hi", "zh"} <= set(many)


@pytest.mark.parametrize("named", [None, "it"])
def test_a_language_that_is_not_sure_is_none(
    multilingual: SttEngine, samples: Sample, named: str | None
) -> None:
    pcm, _ = samples("ciao_mondo")  # too short for base to tell Italian from Spanish
    (transcript,) = multilingual.transcribe([Utterance(pcm, named)])
    assert transcript.text
    assert transcript.language == named


def test_a_language_is_no_surer_when_it_is_heard_again(
    multilingual: SttEngine, samples: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "_doubtful", lambda guess, seconds: True)
    audio = [samples("ciao_mondo")[0], samples("conteggio")[0]]
    transcripts = multilingual.transcribe([Utterance(pcm) for pcm in audio])
    assert [transcript.full_window for transcript in transcripts] == [True, True]
    assert [transcript.language for transcript in transcripts] == [None, "it"]


@pytest.mark.parametrize("seconds", [1, 40])
def test_silence_is_in_no_language(multilingual: SttEngine, seconds: int) -> None:
    silence = np.zeros(seconds * 16_000, np.int16)
    transcripts = multilingual.transcribe([Utterance(silence), Utterance(silence, "fr")])
    assert [(t.text, t.language) for t in transcripts] == [("", None), ("", "fr")]


def test_base_knows_no_cantonese(multilingual: SttEngine, samples: Sample) -> None:
    assert "yue" not in multilingual.languages
    with pytest.raises(ValueError, match="not 'yue'"):
        hear(multilingual, samples("hello_world")[0], language="yue")


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many utterances were recognised together in a short window, and in which, in order."""
    recognised: list[tuple[int, int]] = []
    recognise = whisper._in_short_window

    def counted(model: Any, group: Sequence[Utterance], window_s: int) -> Sequence[Any]:
        recognised.append((len(group), window_s))
        return recognise(model, group, window_s)

    monkeypatch.setattr(whisper, "_in_short_window", counted)
    return recognised


def test_what_is_not_sure_is_heard_again_in_a_longer_window(
    multilingual: SttEngine, samples: Sample, groups: list[tuple[int, int]]
) -> None:
    sure, said = samples("quick_brown_fox")
    unsure, _ = samples("hola_mundo")
    together = multilingual.transcribe([Utterance(pcm) for pcm in (sure, unsure, sure)])
    assert groups == [(3, 8), (1, 12)]
    assert words(together[0].text) == words(together[2].text) == words(said)
    assert [together[1]] == multilingual.transcribe([Utterance(unsure)])
    assert together[1].text


def test_long_windows_are_encoded_few_at_a_time(
    multilingual: SttEngine, readers: Reader, groups: list[tuple[int, int]]
) -> None:
    reading = readers("two_cities")[: 25 * 16_000]
    audio = [reading, reading[:32_000], reading, reading[:32_000], reading]
    transcripts = multilingual.transcribe([Utterance(pcm, "en") for pcm in audio])
    assert sorted(groups) == [(1, 30), (2, 8), (2, 30)]
    assert [transcript.audio_s for transcript in transcripts] == [25, 2, 25, 2, 25]
    assert len({transcript.text for transcript in transcripts}) == 2


@pytest.mark.torch_engine
@pytest.mark.parametrize("seconds", [1, 10, 31])
def test_a_model_with_the_mel_bands_of_large_v3(tmp_path: Path, seconds: int) -> None:
    engine = loaded(str(whisper_of_128_mels(tmp_path)))
    noise = np.random.default_rng(1).normal(0, 3000, seconds * 16_000).astype(np.int16)
    (transcript,) = engine.transcribe([Utterance(noise)])
    assert transcript.audio_s == seconds
    engine.close()


def on_gpu(**chosen: Any) -> SttEngine:
    return create(Settings(stt_engine="whisper", device="cuda", **chosen))


def with_card(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    card = gpu.Card("NVIDIA L4", round(gigabytes * 1e9), round(gigabytes * 1e9))
    monkeypatch.setattr(gpu, "card", lambda: card)


def test_on_a_gpu_it_is_the_large_model_in_half_precision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert on_gpu().model == "mobiuslabsgmbh/faster-whisper-large-v3-turbo"
    asked: dict[str, Any] = {}

    class Opened(Exception):
        pass

    def opened(path: str, **options: Any) -> None:
        asked.update(options)
        raise Opened

    with_card(monkeypatch, 24)
    monkeypatch.setattr(whisper, "load_cublas", lambda: None)
    monkeypatch.setattr(whisper, "WhisperModel", opened)
    with pytest.raises(Opened):
        on_gpu(stt_model="whisper-base").load()
    assert (asked["device"], asked["compute_type"]) == ("cuda", "float16")


def test_a_model_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_card(monkeypatch, 8)
    # 0.1 GB of weights, 0.5 GB for a full window, 0.8 GB for the batch, 0.4 GB for CUDA.
    with pytest.raises(gpu.DoesNotFit, match=r"'whisper-base' needs 1\.8 GB .* may have 1\.2 GB"):
        on_gpu(stt_model="whisper-base").load()
    monkeypatch.setattr(whisper, "load_cublas", raised)
    with pytest.raises(gpu.NoGpu, match="it got this far"):
        on_gpu(stt_model="whisper-base", stt_batch=1).load()


def raised() -> None:
    raise gpu.NoGpu("it got this far")


def test_without_cublas_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "_PACKAGE", "no-such-package")
    monkeypatch.setattr(cublas, "_LIBRARIES", ("libno-such.so.12",))
    with pytest.raises(gpu.NoGpu, match=r"libno-such\.so\.12 cannot be loaded"):
        cublas.load_cublas()


@pytest.mark.torch_engine
def test_cublas_is_found_in_its_package() -> None:
    script = (
        "import ctypes\n"
        "from workers.stt.engines.cublas import load_cublas\n"
        "load_cublas()\n"
        "ctypes.CDLL('libcublas.so.12')\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
