"""Going on with a session: wherever its client stands, what it sees from there on is the rest."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cursor import Cursor
from gateway.happenings import ResponseEnded
from gateway.restore import Ending, Output, restore
from shared.messages import (
    AudioChunk,
    Committed,
    Interrupted,
    OutMessage,
    ResponseCreated,
    ResponseFailed,
    TextDelta,
    TextDone,
    Truncated,
)

counts = st.integers(0, 10**15 - 1)
cursors = st.builds(
    Cursor,
    st.builds("{}-{}".format, st.integers(0, 2**44), st.integers(0, 10**19 - 1)),
    *[counts] * 5,
)


@given(cursors)
def test_an_event_id_names_its_place(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "event_",
        "event_1",
        "event_0-0_0_0_0_0",
        "event_0-0_0_0_0_0_0_0",
        "event_0-12345678901234567890_0_0_0_0_0",
        "event_0-0_0_-1_0_0_0",
        "event_0-0_0_0_0_0_٣",
        "event_0_0_0_0_0_0",
        "xevent_0-0_0_0_0_0_0",
        "event_0-0_0_0_0_0_0\n",
    ],
)
def test_other_ids_are_refused(event_id: str) -> None:
    with pytest.raises(ValueError, match="after must be the id of an event"):
        Cursor.parse(event_id)


def entries(*messages: OutMessage) -> Output:
    return [(f"{number}-0", message) for number, message in enumerate(messages, start=1)]


def created(number: int = 1) -> ResponseCreated:
    return ResponseCreated(
        response_id=f"resp_{number}", item_id=f"item_{number}", modality="audio", output_rate=1000
    )


def text(at: int, words: str) -> TextDelta:
    return TextDelta(response_id="resp_1", segment=0, at=at, text=words)


def audio(offset: int, samples: int, *, final: bool = False) -> AudioChunk:
    pcm = np.arange(offset, offset + samples).astype(np.int16).tobytes()
    return AudioChunk(response_id="resp_1", segment=0, offset=offset, pcm=pcm, final=final)


def done() -> TextDone:
    return TextDone(
        response_id="resp_1", segments=1, finish="stop", input_tokens=1, output_tokens=2, marks={}
    )


SPOKEN: list[OutMessage] = [
    created(),
    text(0, "One "),
    audio(0, 100),
    text(4, "two."),
    audio(100, 50, final=True),
]


def test_what_the_client_has_is_let_go_of() -> None:
    restored = restore(entries(*SPOKEN, done()), Cursor("6-0", samples=120), 1.0)
    answer = restored.answer
    assert answer is not None
    assert restored.created == created()
    assert answer.playout.sent_samples == 120
    [piece] = answer.playout.take(0.0)
    assert piece.samples.tolist() == list(range(120, 150))
    assert restored.ending is None
    assert restored.last == done()


def test_an_end_that_was_shown_in_part_is_shown_again() -> None:
    cursor = Cursor("6-0", samples=150, closing=3)
    restored = restore(entries(*SPOKEN, done()), cursor, 1.0)
    assert restored.ending == Ending("completed")
    assert restored.answer is not None
    assert restored.answer.whole() == "One two."


@pytest.mark.parametrize(
    ("message", "ending"),
    [
        (Interrupted(reason="turn_detected"), Ending("cancelled", "turn_detected")),
        (ResponseFailed(response_id="resp_1", message="no"), Ending("failed", "no")),
    ],
)
def test_an_end_is_over_once_something_followed_it(message: OutMessage, ending: Ending) -> None:
    output = entries(*SPOKEN, message)
    assert restore(output, Cursor("6-0", samples=100), 1.0).ending == ending
    later = [*output, ("7-0", Committed(item_id="item_2", audio_ms=1))]
    restored = restore(later, Cursor("7-0", shown=1, samples=100, closing=4), 1.0)
    assert (restored.answer, restored.ending) == (None, None)
    assert restored.last == later[-1][1]


def test_the_next_response_takes_the_place_of_the_one_before() -> None:
    output = entries(*SPOKEN, done(), created(2))
    restored = restore(output, Cursor("7-0", shown=2), 1.0)
    assert restored.answer is not None
    assert restored.answer.response_id == "resp_2"
    assert restored.created == created(2)


def test_what_came_twice_is_taken_in_once() -> None:
    output = entries(*SPOKEN, created(), text(0, "One "), text(2, "e two."), audio(0, 120), done())
    restored = restore(output, Cursor("10-0"), 1.0)
    assert restored.answer is not None
    assert restored.answer.whole() == "One two."
    assert sum(len(piece.samples) for piece in restored.answer.playout.take(0.0)) == 150


def test_a_client_s_truncation_is_remembered() -> None:
    truncated = Truncated(item_id="item_1", audio_end_ms=75)
    restored = restore(entries(*SPOKEN, done(), truncated), Cursor("7-0"), 1.0)
    assert restored.answer is not None
    assert restored.answer.whole() == "One"


def test_nothing_at_hand_is_nothing_to_go_on_with() -> None:
    restored = restore([], Cursor(), 1.0)
    assert (restored.answer, restored.created, restored.last) == (None, None, None)


def test_an_interruption_of_another_response_is_none_of_this_one() -> None:
    other = Interrupted(reason="client_cancelled", response_id="resp_other")
    assert restore(entries(*SPOKEN, other), Cursor("6-0"), 1.0).ending is None
    named = Interrupted(reason="client_cancelled", response_id="resp_1")
    ending = restore(entries(*SPOKEN, named), Cursor("6-0"), 1.0).ending
    assert ending == Ending("cancelled", "client_cancelled")


def test_of_what_was_taken_in_last_only_what_was_new_is_shown_again() -> None:
    assert restore(entries(*SPOKEN, created()), Cursor("6-0"), 1.0).last is None
    assert restore(entries(*SPOKEN, text(0, "One ")), Cursor("6-0"), 1.0).last is None
    longer = restore(entries(*SPOKEN, text(4, "two. Three.")), Cursor("6-0"), 1.0)
    assert longer.last == text(8, " Three.")


# --- responses aside ---

ASIDE = msgspec.structs.replace(created(9), aside=True, modality="text")


def aside_text(at: int, words: str) -> TextDelta:
    return msgspec.structs.replace(text(at, words), response_id="resp_9")


ASIDE_DONE = msgspec.structs.replace(done(), response_id="resp_9", segments=0)


def test_a_response_aside_goes_on_beside_the_one_at_hand() -> None:
    output = entries(created(), ASIDE, text(0, "One "), aside_text(0, "Tea"), aside_text(3, "."))
    restored = restore(output, Cursor("5-0", shown=1), 1.0)
    assert restored.answer is not None
    assert restored.answer.whole() == "One "
    assert list(restored.begun) == ["resp_9"]
    # what was taken in last was shown in part, and is taken in again
    assert restored.last == aside_text(3, ".")
    assert restored.asides.take(restored.last) == [aside_text(3, ".")]
    [shown, ended] = restored.asides.take(ASIDE_DONE) or []
    assert shown == ASIDE_DONE
    assert isinstance(ended, ResponseEnded)
    assert (ended.status, ended.text) == ("completed", "Tea.")


@pytest.mark.parametrize(
    "end",
    [
        ASIDE_DONE,
        Interrupted(reason="client_cancelled", response_id="resp_9"),
        ResponseFailed(response_id="resp_9", message="no"),
    ],
)
def test_a_response_aside_that_is_over_is_gone(end: OutMessage) -> None:
    output = entries(created(), ASIDE, aside_text(0, "Tea"), end, text(0, "One "))
    restored = restore(output, Cursor("5-0", shown=1), 1.0)
    assert restored.begun == {}
    assert "resp_9" not in restored.asides
    assert restored.answer is not None
    assert restored.ending is None
