"""One session's ear: whatever way its audio comes, it hears the same, and so does a successor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.audio import SAMPLE_RATE
from shared.messages import (
    Committed,
    Frame,
    ListenerState,
    SpeechStarted,
    SpeechStopped,
    SttHint,
    TurnDetection,
    decode,
)
from tests.vad.hearing import (
    ENGINE,
    RULES,
    SEMANTIC,
    SESSION,
    TWO_TURNS,
    essence,
    feed,
    frames,
    new_listener,
    silence,
    tone,
)
from workers.vad.engines import TURN_SAMPLES
from workers.vad.listener import Listener


def test_a_turn_is_announced_ended_and_handed_on() -> None:
    heard = feed(new_listener(), frames(TWO_TURNS, [320]))
    kinds = [[type(message) for message in event.messages] for event in heard]
    turn = [[SpeechStarted], [SpeechStopped, Committed]]
    assert kinds == [*turn, *turn, [SpeechStarted]]
    assert [event.seq for event in heard] == [1, 2, 3, 4, 5]
    assert [event.interrupts for event in heard] == [True, False, True, False, True]
    begun, ended = heard[0], heard[1]
    assert ended.item is not None
    assert ended.job is not None
    started = begun.messages[0]
    assert isinstance(started, SpeechStarted)
    assert {started.item_id} == {ended.item.item_id, ended.job.item_id}


def test_the_turns_audio_is_the_speech_with_a_little_around_it() -> None:
    ended = feed(new_listener(), frames(TWO_TURNS, [320]))[1]
    assert ended.job is not None
    said = np.frombuffer(ended.job.pcm, np.int16)
    loud = np.flatnonzero(said)
    assert len(loud) > 0.95 * SAMPLE_RATE
    before_s, after_s = loud[0] / SAMPLE_RATE, (len(said) - loud[-1]) / SAMPLE_RATE
    assert 0.15 < before_s < 0.25
    assert 0.12 < after_s < 0.17


def test_a_pause_hints_at_the_very_audio_of_the_turn_that_ends_with_it() -> None:
    hints: list[SttHint] = []
    pausing = np.concatenate([tone(0.5), silence(0.25), tone(0.5), silence(0.1), tone(0.5)])
    heard = feed(new_listener(), frames(np.concatenate([pausing, silence(0.7)]), [320]), 0, hints)
    [job] = [event.job for event in heard if event.job]
    assert [len(hint.pcm) < len(job.pcm) for hint in hints] == [True, False]
    assert hints[-1] == SttHint(session_id=SESSION.session_id, pcm=job.pcm)


def test_nothing_is_hinted_at_of_a_turn_that_would_take_long_to_transcribe() -> None:
    hints: list[SttHint] = []
    feed(new_listener(), frames(np.concatenate([tone(29), silence(0.7)]), [16_000]), 0, hints)
    assert hints == []


def test_the_marks_say_when_the_last_word_arrived() -> None:
    ended = feed(new_listener(), frames(TWO_TURNS, [320]))[1]
    assert ended.job is not None
    assert 1500 <= ended.job.marks["speech_end"] <= 1560
    assert 1800 <= ended.job.marks["turn_end"] <= 1880


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_the_size_of_the_frames_changes_nothing(sizes: list[int]) -> None:
    whole = essence(feed(new_listener(), frames(TWO_TURNS, [320])))
    assert essence(feed(new_listener(), frames(TWO_TURNS, sizes))) == whole


@given(st.sampled_from([RULES, SEMANTIC]), st.integers(0, 180), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_successor_hears_the_same(rules: TurnDetection, until: int, repeated: int) -> None:
    """The state after any frame, replayed from the entry it asks for or from further back."""
    pieces = frames(TWO_TURNS, [320])
    expected = essence(feed(new_listener(rules), pieces))
    first = new_listener(rules)
    heard = feed(first, pieces[:until])
    successor = Listener.restored(SESSION, decode(first.state, ListenerState))
    needed = int(first.needs.split("-")[0]) if first.needs else until
    start = max(0, needed - repeated)
    heard += feed(successor, pieces[start:], first=start)
    assert essence(heard) == expected


@given(st.lists(st.integers(0, 180), max_size=20))
@settings(max_examples=30, deadline=None)
def test_frames_that_come_again_are_not_heard_again(again: list[int]) -> None:
    pieces = frames(TWO_TURNS, [320])
    expected = essence(feed(new_listener(), pieces))
    repeated = list(pieces)
    for position in sorted(again, reverse=True):
        repeated[position:position] = pieces[max(0, position - 3) : position]
    assert essence(feed(new_listener(), repeated)) == expected


def test_frames_that_never_come_are_silence() -> None:
    pieces = frames(TWO_TURNS, [320])
    # the second turn is lost on the way: 2.2 s to 2.8 s
    kept = [frame for frame in pieces if not 2.15 * 16_000 <= frame.at < 2.85 * 16_000]
    heard = feed(new_listener(), kept)
    assert [type(event.messages[0]) for event in heard] == [
        SpeechStarted,
        SpeechStopped,
        SpeechStarted,
    ]


def test_little_audio_is_kept_between_turns() -> None:
    listener = new_listener()
    feed(listener, frames(silence(30), [320]))
    state = decode(listener.state, ListenerState)
    assert state.heard - state.kept <= 0.35 * SAMPLE_RATE
    assert listener.needs == "1484-0"


def test_a_turn_without_end_is_cut_after_two_minutes() -> None:
    heard = feed(new_listener(), frames(tone(125), [1600]))
    assert [type(event.messages[0]) for event in heard] == [
        SpeechStarted,
        SpeechStopped,
        SpeechStarted,
    ]
    assert heard[1].job is not None
    assert len(heard[1].job.pcm) == pytest.approx(2 * 120 * SAMPLE_RATE, rel=0.01)


# --- turns that a model ends ---


UM = np.concatenate([tone(0.2), silence(0.6), tone(1.0), silence(0.6)])


def begin_to_ask(listener: Listener, pieces: list[Frame]) -> list[Frame]:
    """Feeds frames until the listener asks; returns those that are left."""
    for number, frame in enumerate(pieces):
        listener.accept(frame, f"{number}-0")
        while listener.has_window:
            probability, state = ENGINE.step(listener.window()[None], listener.model_state[None])
            listener.advance(float(probability[0]), state[0], now_ms=frame.received_ms)
        if listener.has_question:
            return pieces[number + 1 :]
    raise AssertionError("it asked nothing")


def test_a_pause_after_an_um_ends_no_turn() -> None:
    heard = feed(new_listener(SEMANTIC), frames(UM, [320]))
    kinds = [[type(message) for message in event.messages] for event in heard]
    assert kinds == [[SpeechStarted], [SpeechStopped, Committed]]
    assert heard[1].job is not None
    said = np.frombuffer(heard[1].job.pcm, np.int16)
    assert len(said) / SAMPLE_RATE == pytest.approx(0.2 + 0.6 + 1.0 + 0.2, abs=0.05)
    assert heard[1].job.respond == "if_words"
    # ended by the first question after the words, not by the longest wait
    assert heard[1].job.marks["turn_end"] - heard[1].job.marks["speech_end"] <= 300


def test_who_says_no_more_than_um_is_answered_after_the_longest_wait() -> None:
    um = np.concatenate([tone(0.2), silence(2.1)])
    heard = feed(new_listener(SEMANTIC), frames(um, [320]))
    assert [type(event.messages[0]) for event in heard] == [SpeechStarted, SpeechStopped]
    assert heard[1].job is not None
    assert heard[1].job.marks["turn_end"] == pytest.approx(2200, abs=40)


def test_a_listener_that_asks_hears_nothing_before_the_answer() -> None:
    listener = new_listener(SEMANTIC)
    left = begin_to_ask(listener, frames(UM, [320]))
    before = listener.state
    for frame in left[:20]:
        listener.accept(frame, "9-0")
        assert not listener.has_window
    assert listener.state == before
    assert listener.answer(0.0, now_ms=0) is None
    assert listener.has_window
    assert not listener.has_question


def test_what_is_asked_about_is_the_end_of_the_turn() -> None:
    listener = new_listener(SEMANTIC)
    begin_to_ask(listener, frames(np.concatenate([tone(0.8), silence(0.5)]), [320]))
    turn = listener.turn()
    assert np.array_equal(turn[: int(0.8 * SAMPLE_RATE)], tone(0.8))
    assert 0.2 <= len(turn) / SAMPLE_RATE - 0.8 <= 0.26
    listener = new_listener(SEMANTIC)
    begin_to_ask(listener, frames(np.concatenate([tone(9.5), silence(0.5)]), [1600]))
    assert len(listener.turn()) == TURN_SAMPLES
    assert not listener.turn()[-3200:].any()


def test_a_successor_asks_again_once_it_has_the_audio() -> None:
    first = new_listener(SEMANTIC)
    pieces = frames(UM, [320])
    left = begin_to_ask(first, pieces)
    successor = Listener.restored(SESSION, decode(first.state, ListenerState))
    assert successor.idle  # it has nothing to ask about yet
    assert first.needs is not None
    needed = int(first.needs.split("-")[0])
    for number in range(needed, len(pieces) - len(left)):
        assert not successor.has_question
        successor.accept(pieces[number], f"{number}-0")
    assert successor.has_question
    assert np.array_equal(successor.turn(), first.turn())
