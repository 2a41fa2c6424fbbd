"""What every TTS engine does, with a real voice."""

import zlib
from collections.abc import Generator, Iterator

import numpy as np
import pytest

from shared.audio import Int16
from shared.settings import Settings
from tests.engines.conftest import at_once
from workers.tts.engines import Speech, TtsEngine, create

SENTENCE = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module", params=["piper", "instant", "paced"])
def engine(request: pytest.FixtureRequest) -> Iterator[TtsEngine]:
    started = create(Settings(tts_engine=request.param))
    started.load()
    yield started
    started.close()


@pytest.fixture(scope="module")
def piper() -> Iterator[TtsEngine]:
    started = create(Settings(tts_engine="piper"))
    started.load()
    yield started
    started.close()


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


def test_any_voice_is_spoken_with_one_there_is(engine: TtsEngine) -> None:
    for voice in (None, *(voice.name for voice in engine.voices)):
        assert len(say(engine, speech("Hello.", voice=voice)))


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


def test_piper_is_neither_faint_nor_clipped(piper: TtsEngine) -> None:
    for text in ("Sure!", SENTENCE):
        audio = say(piper, speech(text)).astype(np.float64) / 32_768
        assert 0.1 < np.abs(audio).max() < 1
        assert -35 < 10 * np.log10(np.mean(audio**2)) < -15


def test_piper_refuses_a_speed_that_is_none(piper: TtsEngine) -> None:
    with pytest.raises(ValueError, match="speed must be above 0, not 0"):
        say(piper, speech("Hello.", speed=0))


@pytest.mark.parametrize("name", ["instant", "paced"])
def test_samples_of_instant_tell_their_text_and_their_position(name: str) -> None:
    engine = create(Settings(tts_engine=name, paced_tts_speed=1_000))
    audio = say(engine, speech("hello there", rate=8_000))
    assert len(audio) == 11 * 160
    low, high, number, thousands = audio.view(np.uint16).reshape(-1, 4).T
    assert set(low + 65_536 * high.astype(int)) == {zlib.crc32(b"hello there")}
    assert (number == np.arange(440)).all()
    assert not thousands.any()


def test_samples_of_instant_tell_their_position_however_long_the_text() -> None:
    engine = create(Settings(tts_engine="instant"))
    audio = say(engine, speech("x" * 701, rate=22_050)).view(np.uint16)
    assert len(audio) == 701 * 441
    groups = audio[: len(audio) // 4 * 4].reshape(-1, 4).astype(int)
    assert (groups[:, 2] + 65_536 * groups[:, 3] == np.arange(len(groups))).all()
    assert len(groups) > 65_536


def test_without_its_voice_it_says_so() -> None:
    engine = create(Settings(tts_engine="piper"))
    with pytest.raises(RuntimeError, match="piper engine is not loaded"):
        say(engine, speech("Hello."))
    engine.load()
    assert len(say(engine, speech("Hello.")))
    engine.close()
    with pytest.raises(RuntimeError, match="piper engine is not loaded"):
        say(engine, speech("Hello."))
