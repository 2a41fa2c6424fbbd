"""What every STT engine does, with real models and recordings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from shared.audio import Int16
from shared.heartbeat import Offers
from shared.registry import CannotStart
from tests.engines.cases import Case, cases, prepared
from tests.engines.conftest import at_once, close_at_work
from tests.support.words import words
from workers.stt.engines import SttEngine, Utterance, create, offers

Sample = Callable[[str], tuple[Int16, str]]
Reader = Callable[[str], Int16]


@contextmanager
def running(case: Case, folder: Path) -> Iterator[SttEngine]:
    with prepared("stt", case, folder) as settings:
        engine = create(settings)
        engine.load()
        yield engine
        engine.close()


@pytest.fixture(scope="module", params=cases("stt"))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SttEngine]:
    with running(request.param, tmp_path_factory.mktemp("stt")) as loaded:
        yield loaded


@pytest.fixture(scope="module", params=cases("stt", clever=True))
def recogniser(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SttEngine]:
    """An engine that knows what was said."""
    with running(request.param, tmp_path_factory.mktemp("stt")) as loaded:
        yield loaded


def hear(engine: SttEngine, pcm: Int16, language: str | None = "en") -> str:
    (transcript,) = engine.transcribe([Utterance(pcm, language)])
    return transcript.text


def test_no_utterances_are_no_transcripts(engine: SttEngine) -> None:
    assert engine.transcribe([]) == []


@pytest.mark.parametrize("count", [0, 1, 100])
def test_hardly_any_audio_is_no_error(engine: SttEngine, count: int) -> None:
    (transcript,) = engine.transcribe([Utterance(np.zeros(count, np.int16))])
    assert transcript.audio_s == count / 16_000
    assert transcript.text == "" or count


def test_together_is_as_alone(engine: SttEngine, samples: Sample, readers: Reader) -> None:
    audio = [
        samples("hello_world")[0],
        np.zeros(0, np.int16),
        readers("beckett"),
        samples("quick_brown_fox")[0],
        readers("beckett")[:50_000],
    ]
    together = engine.transcribe([Utterance(pcm, "en") for pcm in audio])
    assert [words(t.text) for t in together] == [words(hear(engine, pcm)) for pcm in audio]
    assert [t.audio_s for t in together] == [len(pcm) / 16_000 for pcm in audio]


def test_two_threads_at_once(engine: SttEngine, samples: Sample) -> None:
    audio = [samples("hello_world")[0], samples("quick_brown_fox")[0]]
    assert at_once(lambda pcm: hear(engine, pcm), audio) == [hear(engine, pcm) for pcm in audio]


def test_longer_than_a_window(engine: SttEngine, readers: Reader) -> None:
    reading = readers("two_cities")
    (transcript,) = engine.transcribe([Utterance(reading, "en")])
    assert transcript.audio_s == len(reading) / 16_000 > 30
    assert transcript.text
    assert transcript.language == "en"


@pytest.mark.parametrize("seconds", [0.3, 5])
@pytest.mark.parametrize("level", [0, 10, 300])
def test_silence_and_noise_say_nothing(recogniser: SttEngine, seconds: float, level: int) -> None:
    noise = np.random.default_rng(1).normal(0, level, round(16_000 * seconds))
    assert hear(recogniser, noise.astype(np.int16)) == ""


def test_a_long_silence_says_nothing(recogniser: SttEngine) -> None:
    assert hear(recogniser, np.zeros(40 * 16_000, np.int16)) == ""


@pytest.mark.parametrize("name", ["hello_world", "quick_brown_fox"])
def test_clean_speech_is_understood_word_for_word(
    recogniser: SttEngine, samples: Sample, name: str
) -> None:
    pcm, said = samples(name)
    assert words(hear(recogniser, pcm)) == words(said)


def test_a_prompt_changes_nothing_that_was_said(recogniser: SttEngine, samples: Sample) -> None:
    pcm, said = samples("hello_world")
    (transcript,) = recogniser.transcribe([Utterance(pcm, "en", prompt="Hello, World!")])
    assert words(transcript.text) == words(said)


def test_a_language_it_does_not_understand_is_refused(engine: SttEngine, samples: Sample) -> None:
    utterances = [Utterance(samples("hello_world")[0], language) for language in ("en", "tlh")]
    if engine.languages:
        assert "en" in engine.languages
        with pytest.raises(ValueError, match=r"language must be one of .*\ben\b.*, not 'tlh'"):
            engine.transcribe(utterances)
    else:
        assert [t.language for t in engine.transcribe(utterances)] == ["en", "tlh"]


def test_workers_say_which_languages_they_understand(engine: SttEngine) -> None:
    assert offers(engine) == Offers(languages=tuple(engine.languages))


@pytest.mark.parametrize("case", cases("stt", loads=True))
def test_it_works_between_load_and_close(case: Case, tmp_path: Path, samples: Sample) -> None:
    pcm, _ = samples("hello_world")
    with prepared("stt", case, tmp_path) as settings:
        engine = create(settings)
        with pytest.raises(RuntimeError, match=f"{engine.name} engine is not loaded"):
            hear(engine, pcm)
        engine.load()
        for why in close_at_work(lambda: hear(engine, pcm), engine.close):
            assert f"{engine.name} engine is not loaded" in why


@pytest.mark.parametrize("case", cases("stt", loads=True))
def test_a_model_that_is_missing_is_named(case: Case, tmp_path: Path) -> None:
    with prepared("stt", case, tmp_path, stt_model="no-such-model") as settings:
        engine = create(settings)
        with pytest.raises(CannotStart, match="'no-such-model'"):
            engine.load()
