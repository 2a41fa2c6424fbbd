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
    TimeoutTriggered,
    TurnDetection,
    decode,
)
from shared.scripts.lanes import Heard
from workers.vad.engines import TURN_SAMPLES
from workers.vad.engines.energy import EnergyEngine
from workers.vad.engines.length import LengthEngine
from workers.vad.listener import Listener

SESSION = Keyspace(1, 1).session("sess_1")
ENGINE, TURNS = EnergyEngine(), LengthEngine()
RULES = TurnDetection(silence_ms=300, prefix_ms=200)
SEMANTIC = TurnDetection(eagerness="high", prefix_ms=200)


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


def new_listener(rules: TurnDetection = RULES) -> Listener:
    listener = Listener(SESSION, ENGINE.initial_state())
    listener.turn_detection = rules
    return listener


def feed(listener: Listener, pieces: list[Frame], first: int = 0) -> list[Heard]:
    """Feeds frames, from lane entry `first` on, and returns what was heard."""
    heard = []
    for number, frame in enumerate(pieces, first):
        listener.accept(frame, f"{number}-0")
        while not listener.idle:
            if listener.has_question:
                over = float(TURNS.over([listener.turn()])[0])
                heard += [event] if (event := listener.answer(over, frame.received_ms)) else []
                continue
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
