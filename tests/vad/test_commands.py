"""What a listener is told to do at a place among the frames: once, and so by a successor."""

import numpy as np
import pytest

from shared.audio import SAMPLE_RATE
from shared.messages import (
    Cleared,
    Command,
    CommitRefused,
    Committed,
    ListenerState,
    SpeechStarted,
    TimeoutTriggered,
    TurnDetection,
    decode,
)
from tests.vad.hearing import (
    ENGINE,
    RULES,
    SEMANTIC,
    SESSION,
    TWO_TURNS,
    command,
    feed,
    frames,
    new_listener,
    silence,
    tone,
)
from workers.vad.listener import Listener


def push_to_talk() -> Listener:
    listener = new_listener()
    assert listener.obey(command("configure", turn_detection=None), 0) is None
    return listener


def test_push_to_talk_makes_a_turn_of_what_came_and_answers_nothing() -> None:
    listener = push_to_talk()
    assert feed(listener, frames(tone(1.0), [320])) == []
    heard = listener.obey(command("commit"), now_ms=2000)
    assert heard is not None
    assert heard.job is not None
    assert np.array_equal(np.frombuffer(heard.job.pcm, np.int16), tone(1.0))
    assert heard.job.respond == "never"
    assert [type(message) for message in heard.messages] == [Committed]
    # and the next turn begins empty
    again = listener.obey(command("commit", reference="event_7"), now_ms=2000)
    assert again is not None
    assert list(again.messages) == [CommitRefused(audio_ms=0, reference="event_7")]


def test_a_commit_of_too_little_is_refused() -> None:
    listener = push_to_talk()
    feed(listener, frames(tone(0.09), [320]))
    heard = listener.obey(command("commit"), now_ms=0)
    assert heard is not None
    assert list(heard.messages) == [CommitRefused(audio_ms=90)]
    assert heard.job is None


def test_a_commit_ends_the_turn_that_is_being_spoken() -> None:
    listener = new_listener()
    feed(listener, frames(tone(1.0), [320]))
    heard = listener.obey(command("commit"), now_ms=0)
    assert heard is not None
    assert heard.job is not None
    assert len(heard.job.pcm) == 2 * SAMPLE_RATE


@pytest.mark.parametrize("seconds", [0.2, 1.0])
def test_a_commit_ends_a_turn_that_a_model_would_end(seconds: float) -> None:
    """In the middle of the words, and in a pause that was not taken for their end."""
    listener = new_listener(SEMANTIC)
    pause = 0.3 if seconds < 0.3 else 0.0
    feed(listener, frames(np.concatenate([tone(seconds), silence(pause)]), [320]))
    heard = listener.obey(command("commit", number=3), now_ms=0)
    assert heard is not None
    assert heard.job is not None
    assert heard.job.respond == "never"
    assert len(heard.job.pcm) == 2 * int((seconds + pause) * SAMPLE_RATE)
    (committed,) = heard.messages
    assert isinstance(committed, Committed)
    assert committed.number == 3
    # the turn is over: silence ends nothing, and the next one is its own
    start = int((seconds + pause) * SAMPLE_RATE)
    assert feed(listener, frames(silence(3), [320], start=start)) == []


def test_a_refused_commit_names_its_request() -> None:
    heard = push_to_talk().obey(command("commit", reference="event_7", number=4), now_ms=0)
    assert heard is not None
    assert list(heard.messages) == [CommitRefused(audio_ms=0, reference="event_7", number=4)]


# --- silences that are turns ---


def timeout(at: int) -> Command:
    return command("timeout", at=at, since=8_000)


def test_a_silence_is_a_turn_to_be_answered_whatever_its_words() -> None:
    listener = new_listener(TurnDetection(prefix_ms=200, create_response=False))
    feed(listener, frames(silence(5), [320]))
    heard = listener.obey(timeout(80_000), now_ms=5_000)
    assert heard is not None
    assert heard.item is not None
    assert heard.job is not None
    triggered, committed = heard.messages
    assert triggered == TimeoutTriggered(item_id=heard.item.item_id, since=8_000, at=80_000)
    assert isinstance(committed, Committed)
    assert heard.item.item_id == committed.item_id == heard.job.item_id
    assert heard.job.respond == "always"
    kept = len(heard.job.pcm) // 2
    assert 0.25 * SAMPLE_RATE < kept < 0.35 * SAMPLE_RATE  # what leads a turn in
    assert committed.audio_ms == kept // 16
    # and speech goes on to be heard as ever
    later = feed(listener, frames(TWO_TURNS[:24_000], [320], start=80_000))
    assert [type(event.messages[0]) for event in later] == [SpeechStarted]


def test_a_session_without_any_audio_can_be_answered_too() -> None:
    heard = new_listener().obey(timeout(0), now_ms=0)
    assert heard is not None
    assert heard.job is not None
    assert heard.job.pcm == b""


@pytest.mark.parametrize("talking", [True, False])
def test_nothing_is_told_of_a_silence_that_somebody_broke_or_that_is_not_waited_for(
    talking: bool,
) -> None:
    listener = new_listener() if talking else push_to_talk()
    feed(listener, frames(tone(1.0), [320]))
    before = decode(listener.state, ListenerState).seq
    assert listener.obey(timeout(SAMPLE_RATE), now_ms=0) is None
    assert decode(listener.state, ListenerState).seq == before


@pytest.mark.parametrize("broken", [True, False])
def test_a_silence_that_comes_again_is_told_once_also_by_a_successor(broken: bool) -> None:
    """Whether or not it made a turn the first time: what came since may not change that."""
    listener = new_listener()
    sound = tone(0.5) if broken else silence(0.5)
    feed(listener, frames(sound, [320]))
    heard = listener.obey(timeout(8_000), now_ms=0)
    assert (heard is None) == broken
    feed(listener, frames(silence(1), [320], start=8_000))
    successor = Listener.restored(SESSION, decode(listener.state, ListenerState))
    for one in (listener, successor):
        assert one.obey(timeout(8_000), now_ms=0) is None
        assert one.obey(timeout(24_000), now_ms=0) is not None


def test_clear_throws_the_turn_away() -> None:
    listener = new_listener()
    feed(listener, frames(tone(1.0), [320]))
    heard = listener.obey(command("clear"), now_ms=0)
    assert heard is not None
    assert list(heard.messages) == [Cleared()]
    later = feed(listener, frames(silence(2.0), [320], start=SAMPLE_RATE))
    assert later == []


def test_a_request_sent_again_is_carried_out_once_also_by_a_successor() -> None:
    listener = new_listener()
    listener.obey(command("configure", turn_detection=None, number=1), 0)
    feed(listener, frames(tone(0.5), [320]))
    heard = listener.obey(command("commit", number=2), now_ms=0)
    assert heard is not None
    assert heard.job is not None
    successor = Listener.restored(SESSION, decode(heard.state, ListenerState))
    for one in (listener, successor):
        assert one.obey(command("commit", number=2), now_ms=0) is None
        assert one.obey(command("configure", turn_detection=RULES, number=1), now_ms=0) is None
        assert one.turn_detection is None
        refused = one.obey(command("commit", number=3), now_ms=0)
        assert refused is not None
        assert isinstance(refused.messages[0], CommitRefused)


def test_a_successor_that_replays_the_opening_keeps_what_came_after_it() -> None:
    opening = Command(SESSION.session_id, 0, "open", RULES)
    push_to_talk = Command(SESSION.session_id, 0, "configure", None, number=1)
    listener = Listener(SESSION, ENGINE.initial_state())
    for one in (opening, push_to_talk):
        listener.obey(one, 0)
    successor = Listener.restored(SESSION, decode(listener.state, ListenerState))
    for one in (opening, push_to_talk):
        successor.obey(one, 0)
    assert feed(successor, frames(tone(0.5), [1600])) == []


def test_audio_goes_on_where_a_clear_says() -> None:
    """What a resampler held back is gone with what was cleared: no gap is filled for it."""
    listener = new_listener()
    feed(listener, frames(tone(0.1), [320]))
    listener.obey(command("clear", at=1_700), now_ms=0)
    listener.accept(frames(tone(0.1), [320], start=1_700)[0], "9-0")
    assert decode(listener.state, ListenerState).kept == 1_700
