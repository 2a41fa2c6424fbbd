"""What sessions say follows from the seed, and what must come of it is what comes of it."""

import itertools

import numpy as np

from bench.chaos import speaking
from bench.chaos.conversation import TURN_DETECTION
from bench.chaos.hearing import Hearing
from bench.chaos.script import Turn, script
from client import SAMPLE_RATE
from shared.audio import Int16


def spoken(turn: Turn) -> Int16:
    return np.concatenate([turn.speech(1), np.zeros(SAMPLE_RATE // 2, np.int16)])


def test_a_seed_is_a_script() -> None:
    assert script(1, 2, 8, 5.0) == script(1, 2, 8, 5.0)
    assert script(1, 2, 8, 5.0) != script(2, 2, 8, 5.0)


def test_whoever_talks_over_an_answer_speaks_and_the_last_word_is_heard() -> None:
    for session in range(50):
        turns = script(1, session, 8, 5.0)
        assert turns[-1].ending != "talked_over"
        for before, after in itertools.pairwise(turns):
            assert before.ending != "talked_over" or after.way == "spoken"


def test_no_two_turns_sound_or_read_the_same() -> None:
    turns = [turn for session in range(20) for turn in script(1, session, 8, 5.0)]
    assert len({turn.speech(1).tobytes() for turn in turns}) == len(turns)
    assert len({turn.text for turn in turns}) == len(turns)


def test_what_is_heard_does_not_depend_on_the_pieces_it_comes_in() -> None:
    audio = np.concatenate([spoken(turn) for turn in script(1, 0, 3, 5.0)])
    heard = []
    for size in (len(audio), 2_400, 480, 777):
        hearing = Hearing(TURN_DETECTION)
        for at in range(0, len(audio), size):
            hearing.audio(audio[at : at + size])
        heard.append(hearing.transcripts)
    assert len(heard[0]) == 3
    assert heard == [heard[0]] * 4


def test_one_sample_that_is_lost_is_heard() -> None:
    audio = spoken(script(1, 0, 1, 5.0)[0])
    whole, lost = Hearing(TURN_DETECTION), Hearing(TURN_DETECTION)
    whole.audio(audio)
    lost.audio(np.delete(audio, 5_000))
    assert len(whole.transcripts) == len(lost.transcripts) == 1
    assert whole.transcripts != lost.transcripts


def test_a_turn_can_be_ended_by_hand() -> None:
    hearing = Hearing(TURN_DETECTION)
    turn = script(1, 0, 1, 5.0)[0]
    hearing.configure(None)
    hearing.audio(turn.speech(1))
    hearing.commit()
    [transcript] = hearing.transcripts
    assert transcript.startswith(f"utterance of {turn.tone_ms * 16} samples")


def test_an_answer_sounds_like_its_text() -> None:
    text = speaking.answer("hello")
    assert text == "You said: hello. That is all I know about it."
    audio = speaking.audio(text)
    # the space between two segments is not spoken
    assert len(audio) == (len(text) - 1) * SAMPLE_RATE // 50
    assert not np.array_equal(audio, speaking.audio(speaking.answer("hallo")))
