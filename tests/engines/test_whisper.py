"""What Whisper understands, and how it is kept from making words up."""

from collections.abc import Callable, Iterator

import pytest

from shared.audio import Int16
from shared.heartbeat import Offers
from shared.settings import Settings
from tests.support.words import word_error_rate, words
from workers.stt.engines import SttEngine, Utterance, create, offers, whisper

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
    [("comptage", "fr"), ("conteo", "es"), ("contagem", "pt"), ("jishu", "zh")],
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
    assert word_error_rate(said, transcript.text) <= 0.1


def test_an_english_model_takes_no_other_language_for_english(samples: Sample) -> None:
    english = loaded("whisper-tiny.en")
    with pytest.raises(ValueError, match="language must be one of en, not 'de'"):
        hear(english, samples("hello_world")[0], language="de")


def test_workers_say_which_languages_they_understand() -> None:
    assert offers(loaded("whisper-tiny.en")) == Offers(languages=("en",))
    many = offers(loaded("whisper-base")).languages
    assert len(many) >= 99
    assert {"en", "de", "hi", "zh"} <= set(many)
