"""One session's ear: whatever way its audio comes, it hears the same, and so does a successor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.audio import SAMPLE_RATE, Int16
from shared.keys import Keyspace
from shared.messages import (
    Cleared,
    Command,
    CommitRefused,
    Committed,
    Frame,
    ListenerState,
    OutMessage,
    SpeechStarted,
    SpeechStopped,
    TurnDetection,
    decode,
)
from shared.scripts.lanes import Heard
from workers.vad.engines.energy import EnergyEngine
from workers.vad.listener import Listener

SESSION = Keyspace(1, 1).session("sess_1")
ENGINE = EnergyEngine()
RULES = TurnDetection(silence_ms=300, prefix_ms=200)


def tone(seconds: float, loudness: int = 8000) -> Int16:
    """A sound that the energy engine takes for speech; every sample differs from its neighbour."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (loudness * np.sin(2 * np.pi * 220 * times)).astype(np.int16)


def silence(seconds: float) -> Int16:
    return np.zeros(int(seconds * SAMPLE_RATE), np.int16)


TWO_TURNS = np.concatenate(
    [silence(0.5), tone(1.0), silence(0.7), tone(0.6), silence(0.7), tone(0.3)]
)


def frames(audio: Int16, sizes: list[int], start: int = 0) -> list[Frame]:
    """`audio` in frames of these sizes, again and again; each arrives when its audio ends."""
    cut, at, number = [], 0, 0
    while at < len(audio):
        piece = audio[at : at + sizes[number % len(sizes)]]
        arrived_ms = 1000 * (start + at + len(piece)) // SAMPLE_RATE
        cut.append(Frame(SESSION.session_id, start + at, piece.tobytes(), arrived_ms))
        at += len(piece)
        number += 1
    return cut


def new_listener() -> Listener:
    listener = Listener(SESSION, ENGINE.initial_state())
    listener.turn_detection = RULES
    return listener


def feed(listener: Listener, pieces: list[Frame], first: int = 0) -> list[Heard]:
    """Feeds frames, from lane entry `first` on, and returns what was heard."""
    heard = []
    for number, frame in enumerate(pieces, first):
        listener.accept(frame, f"{number}-0")
        while listener.has_window:
            probability, state = ENGINE.step(listener.window()[None], listener.model_state[None])
            event = listener.advance(float(probability[0]), state[0], now_ms=frame.received_ms)
            if event is not None:
                heard.append(event)
    return heard


def essence(heard: list[Heard]) -> list[tuple[object, ...]]:
    """What was heard, without the ids that are drawn by chance."""

    def plain(message: OutMessage) -> tuple[object, ...]:
        return (type(message).__name__, getattr(message, "at", None))

    return [
        (event.seq, event.interrupts, *map(plain, event.messages), event.job and event.job.pcm)
        for event in heard
    ]


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
    assert 0.15 < after_s < 0.25


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


@given(st.integers(0, 180), st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_a_successor_hears_the_same(until: int, repeated: int) -> None:
    """The state after any frame, replayed from the entry it asks for or from further back."""
    pieces = frames(TWO_TURNS, [320])
    expected = essence(feed(new_listener(), pieces))
    first = new_listener()
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


# --- commands ---


def command(action: str, at: int = 0, **fields: object) -> Command:
    return Command(SESSION.session_id, at, action, **fields)  # type: ignore[arg-type]


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
    for command in (opening, push_to_talk):
        listener.obey(command, 0)
    successor = Listener.restored(SESSION, decode(listener.state, ListenerState))
    for command in (opening, push_to_talk):
        successor.obey(command, 0)
    assert feed(successor, frames(tone(0.5), [1600])) == []


def test_audio_goes_on_where_a_clear_says() -> None:
    """What a resampler held back is gone with what was cleared: no gap is filled for it."""
    listener = new_listener()
    feed(listener, frames(tone(0.1), [320]))
    listener.obey(command("clear", at=1_700), now_ms=0)
    listener.accept(frames(tone(0.1), [320], start=1_700)[0], "9-0")
    assert decode(listener.state, ListenerState).kept == 1_700
