"""What every TTS engine does, with real voices."""

import re
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.audio import Int16
from shared.heartbeat import Offers
from shared.registry import CannotStart
from tests.engines.cases import Case, cases, prepared
from tests.engines.conftest import at_once, close_at_work
from workers.tts.engines import Speech, TtsEngine, create, offers

SENTENCE = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module", params=cases("tts"))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TtsEngine]:
    with prepared("tts", request.param, tmp_path_factory.mktemp("tts")) as settings:
        loaded = create(settings)
        loaded.load()
        yield loaded
        loaded.close()


def speech(text: str, rate: int = 24_000, speed: float = 1.0, voice: str | None = None) -> Speech:
    return Speech(text, voice, speed, rate)


def say(engine: TtsEngine, asked: Speech) -> Int16:
    """The whole of it, int16 (n,)."""
    return np.concatenate([np.zeros(0, np.int16), *engine.synthesize(asked)])


def test_nothing_to_say_is_no_audio(engine: TtsEngine) -> None:
    assert list(engine.synthesize(speech(""))) == []


@pytest.mark.parametrize("text", [" \n ", "...", "\0", "[[", "🙂", "你好", "ß" * 200])
def test_odd_text_is_no_error(engine: TtsEngine, text: str) -> None:
    assert say(engine, speech(text)).dtype == np.int16


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 48_000])
def test_chunks_are_short_and_at_the_rate_asked_for(engine: TtsEngine, rate: int) -> None:
    chunks = list(engine.synthesize(speech(SENTENCE, rate)))
    assert all(chunk.dtype == np.int16 and chunk.ndim == 1 for chunk in chunks)
    # The first chunk is not longer for what the resampler holds back, the last not empty.
    assert all(0 < len(chunk) <= 0.21 * rate for chunk in chunks)
    assert 0.5 * rate < sum(map(len, chunks)) < 6 * rate


def test_faster_is_shorter(engine: TtsEngine) -> None:
    slow, usual, fast = (
        len(say(engine, speech(SENTENCE, speed=speed))) for speed in (0.5, 1.0, 2.0)
    )
    # Piper rounds each sound up to whole 12 ms frames, so twice as fast is not quite half as long.
    assert slow > 1.5 * usual
    assert usual > 1.2 * fast


def test_every_voice_speaks(engine: TtsEngine) -> None:
    for voice in (None, *(voice.name for voice in engine.voices)):
        assert len(say(engine, speech("Hello.", voice=voice)))


def test_voices_have_names_and_languages_and_workers_say_so(engine: TtsEngine) -> None:
    names = [voice.name for voice in engine.voices]
    assert all(names)
    assert len(names) == len({*names})
    assert all(v.language is None or re.fullmatch("[a-z]{2,3}", v.language) for v in engine.voices)
    assert offers(engine) == Offers(voices=tuple(names))


def test_long_text_comes_sentence_by_sentence_and_may_be_left(engine: TtsEngine) -> None:
    chunks = engine.synthesize(speech(f"{SENTENCE} " * 40))
    assert len(next(chunks))
    assert isinstance(chunks, Generator)
    chunks.close()
    assert list(chunks) == []
    assert len(say(engine, speech("Hello.")))


def test_two_threads_at_once(engine: TtsEngine) -> None:
    long, short, again = at_once(
        lambda text: say(engine, speech(text)), [SENTENCE, "Yes.", SENTENCE]
    )
    assert 0 < len(short) < min(len(long), len(again))


@pytest.mark.parametrize("case", cases("tts", loads=True))
def test_it_works_between_load_and_close(case: Case, tmp_path: Path) -> None:
    with prepared("tts", case, tmp_path) as settings:
        engine = create(settings)
        with pytest.raises(RuntimeError, match=f"{engine.name} engine is not loaded"):
            say(engine, speech("Hello."))
        engine.load()
        for why in close_at_work(lambda: say(engine, speech("Hello.")), engine.close):
            assert f"{engine.name} engine is not loaded" in why


@pytest.mark.parametrize("case", cases("tts", loads=True))
def test_a_model_that_is_missing_is_named(case: Case, tmp_path: Path) -> None:
    with prepared("tts", case, tmp_path, tts_models="no-such-model") as settings:
        engine = create(settings)
        with pytest.raises(CannotStart, match="'no-such-model'"):
            engine.load()
