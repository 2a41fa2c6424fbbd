"""The checks of the chaos suite find nothing in a good session and everything in a bad one."""

import base64
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from bench.chaos.invariants import Violation, check
from client import Event
from shared.messages import Item
from tests.bench.chaos_session import Session, turn

AUDIO = "response.output_audio.delta"
TEXT = "response.output_audio_transcript.delta"
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def talk() -> Session:
    """Every way to say something and every way for an answer to end."""
    return Session(
        turn(0),
        turn(1, "typed"),
        turn(2, "push_to_talk", "cancelled"),
        turn(3, ending="talked_over"),
        turn(4),
    )


def verdict(session: Session) -> list[Violation]:
    return check(session.record(), session.transcripts, session.history)


def kinds(found: list[Violation]) -> set[str]:
    return {violation.kind for violation in found}


def drop(session: Session, kind: str, number: int = 0) -> None:
    del session.events[session.find(kind, number)]


def repeat(session: Session, kind: str, number: int = 0) -> None:
    """The same again, under a name of its own."""
    at = session.find(kind, number)
    begun, event = session.events[at]
    again = Event(event.type, {**event.fields, "event_id": "event_again"})
    session.events.insert(at + 1, (begun, again))


def change(session: Session, kind: str, number: int = 0, **fields: object) -> None:
    at = session.find(kind, number)
    begun, event = session.events[at]
    session.events[at] = (begun, Event(event.type, {**event.fields, **fields}))


def swap(session: Session, kind: str, number: int = 0) -> None:
    """This event and the next in the wrong order."""
    at = session.find(kind, number)
    session.events[at], session.events[at + 1] = session.events[at + 1], session.events[at]


def answer_twice(session: Session) -> None:
    """The whole second response again, as another one."""
    first = session.find("response.created", 1)
    last = session.find("response.done", 1)
    again = []
    for begun, event in session.events[first : last + 1]:
        text = msgspec.json.encode(event.fields).decode()
        for name in ("event_", "resp_", "item_a"):
            text = text.replace(name, f"{name}x")
        again.append((begun, Event(event.type, msgspec.json.decode(text))))
    session.events[last + 1 : last + 1] = again


def recode(samples: np.ndarray) -> str:
    return base64.b64encode(samples.tobytes()).decode()


def test_a_good_session_has_no_violation() -> None:
    assert verdict(talk()) == []


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda s: drop(s, AUDIO, 1), "lost"),
        (lambda s: repeat(s, AUDIO, 1), "duplicated"),
        (lambda s: swap(s, AUDIO, 1), "wrong"),
        (lambda s: drop(s, TEXT, 3), "lost"),
        (lambda s: repeat(s, TEXT, 3), "duplicated"),
        (lambda s: swap(s, TEXT, 3), "wrong"),
        (lambda s: change(s, TRANSCRIBED, transcript="something else"), "wrong"),
        (lambda s: drop(s, TRANSCRIBED), "lost"),
        (lambda s: repeat(s, TRANSCRIBED), "duplicated"),
        (lambda s: drop(s, "input_audio_buffer.committed"), "lost"),
        (lambda s: swap(s, "input_audio_buffer.speech_stopped"), "wrong"),
        (lambda s: drop(s, "response.done", 1), "lost"),
        (lambda s: repeat(s, "response.done", 1), "wrong"),
        (lambda s: drop(s, "response.content_part.done"), "wrong"),
        (answer_twice, "duplicated"),
        (lambda s: s.history.pop(), "lost"),
        (lambda s: s.history.append(Item.of(item_id="more", role="user")), "duplicated"),
        (lambda s: s.history.insert(0, s.history.pop(1)), "wrong"),
    ],
)
def test_what_is_lost_repeated_or_out_of_order_is_found(
    spoil: Callable[[Session], object], kind: str
) -> None:
    session = talk()
    spoil(session)
    assert kind in kinds(verdict(session))


def test_an_answer_cut_off_before_its_first_text_has_no_item() -> None:
    session = talk()
    session.cut_short(2)
    del session.history[5]
    assert verdict(session) == []


@pytest.mark.parametrize("number", [0, 2])
def test_an_answer_without_an_item_is_no_item_of_the_history(number: int) -> None:
    session = talk()
    session.cut_short(number)
    assert "wrong" in kinds(verdict(session))


def test_an_answer_that_nobody_cut_has_an_item() -> None:
    session = talk()
    session.cut_short(1)
    del session.history[3]
    [violation] = verdict(session)
    assert (violation.kind, violation.turn) == ("lost", 1)


def test_an_item_is_shown_with_its_first_text() -> None:
    session = talk()
    audio = session.events.pop(session.find(AUDIO))
    session.events.insert(session.find(TEXT), audio)
    [violation] = verdict(session)
    assert (violation.kind, violation.turn) == ("wrong", 0)
    assert "content_part.added, output_audio.delta" in violation.what


def test_audio_of_another_answer_is_found() -> None:
    session = talk()
    stranger = session.events[session.find(AUDIO, 0)][1]
    last = session.find("response.created", 1)
    other = next(
        at for at in range(last, len(session.events)) if session.events[at][1].type == AUDIO
    )
    session.events[other] = (session.events[other][0], msgspec.structs.replace(stranger))
    assert any("samples of audio" in each.what for each in verdict(session))


def test_one_sample_that_is_wrong_is_found() -> None:
    session = talk()
    at = session.find(AUDIO, 2)
    samples = session.events[at][1].audio.copy()
    samples[17] += 1
    change(session, AUDIO, 2, delta=recode(samples))
    [violation] = verdict(session)
    assert (violation.kind, violation.session, violation.turn) == ("wrong", 7, 0)
    assert "from sample 9617 on" in violation.what


def test_an_event_that_comes_again_under_its_name_is_found() -> None:
    session = talk()
    change(session, "response.content_part.added", 1, event_id="event_3")
    assert [each.what for each in verdict(session)] == ["event 'event_3' came 2 times"]


def test_an_error_is_a_violation_but_for_a_cancel_that_came_too_late() -> None:
    session = talk()
    late = {"code": "response_cancel_not_active", "message": "too late"}
    session._add(5, "error", error=late)
    assert verdict(session) == []
    session._add(5, "error", error=late)
    assert kinds(verdict(session)) == {"wrong"}


def test_the_history_must_be_what_was_heard() -> None:
    session = talk()
    session.history[-1] = Item.of(item_id="item_a5", role="assistant", text="You said: more.")
    [violation] = verdict(session)
    assert "the history says ('item_a5', 'assistant', 'You said: more.')" in violation.what


def test_more_cannot_be_heard_than_was_sent() -> None:
    session = talk()
    whole = "You said: utterance of 3. That is all I know about it."
    cut = {"id": "resp_4", "status": "cancelled", "output": [{"content": [{"transcript": whole}]}]}
    change(session, "response.done", 3, response=cut)
    session.history[7] = Item.of(session.history[7].item_id, "assistant", whole)
    [violation] = verdict(session)
    assert violation.turn == 3
    assert "in 400 ms of audio" in violation.what


def test_an_answer_that_nobody_cut_must_not_be_cancelled() -> None:
    session = talk()
    output = [{"content": [{"transcript": "You said: utterance of 0."}]}]
    response = {"id": "resp_1", "status": "cancelled", "output": output}
    change(session, "response.done", 0, response=response)
    assert "the response ended as 'cancelled'" in [each.what for each in verdict(session)]


@pytest.mark.parametrize(
    ("spoil", "kinds_found"),
    [
        (lambda s: change(s, TRANSCRIBED, transcript="something else"), {"wrong"}),
        (lambda s: drop(s, AUDIO, 1), set()),
        (lambda s: repeat(s, TEXT, 3), {"wrong"}),
        (lambda s: drop(s, "response.done", 1), {"lost", "wrong"}),
        (answer_twice, {"duplicated", "lost", "wrong"}),
    ],
)
def test_of_real_engines_all_but_what_they_say_is_checked(
    spoil: Callable[[Session], object], kinds_found: set[str]
) -> None:
    session = talk()
    assert check(session.record(), None, session.history) == []
    spoil(session)
    assert kinds(check(session.record(), None, session.history)) == kinds_found


def test_a_turn_without_an_answer_is_lost() -> None:
    session = talk()
    session.events = session.events[: session.find("response.created", 4)]
    session.history.pop()
    assert verdict(session) == [Violation("lost", 7, 4, "the turn was not answered")]


def test_a_conversation_that_broke_off_is_lost() -> None:
    session = talk()
    record = session.record()
    record.broke = "the server closed the connection"
    [violation] = check(record, session.transcripts, [])
    assert violation.kind == "lost"
