"""What is shown of a conversation, event by event."""

import io

import pytest
from rich.console import Console

from cli.screen import lines, timing
from cli.transcript import Entry, State, Transcript
from client import Event
from shared.messages import MARKS

TRANSCRIPTION = "conversation.item.input_audio_transcription"


def event(kind: str, **fields: object) -> Event:
    return Event(kind, fields)


def said(item: str, text: str) -> list[Event]:
    return [
        event("input_audio_buffer.speech_started", item_id=item),
        event("input_audio_buffer.speech_stopped", item_id=item),
        event(f"{TRANSCRIPTION}.delta", item_id=item, delta=text),
        event(f"{TRANSCRIPTION}.completed", item_id=item, transcript=text),
    ]


def answering(item: str, *words: str) -> list[Event]:
    message = {"id": item, "type": "message"}
    added = event("response.output_item.added", item=message, response_id=f"resp_{item}")
    kind = "response.output_audio_transcript.delta"
    deltas = [event(kind, item_id=item, delta=word) for word in words]
    return [added, *deltas, event("response.output_audio.delta", item_id=item, delta="")]


def done(item: str, status: str = "completed", **more: object) -> Event:
    response = {"id": f"resp_{item}", "status": status, "output": [], **more}
    return event("response.done", response=response)


def words(text: str) -> list[dict[str, object]]:
    return [{"content": [{"type": "output_audio", "transcript": text}]}]


def fed(*events: Event) -> Transcript:
    transcript = Transcript()
    for each in events:
        transcript.take(each)
    return transcript


def settled(transcript: Transcript) -> list[tuple[str, str, State]]:
    return [(entry.speaker, entry.text, entry.state) for entry in transcript.settled()]


def test_words_come_one_by_one_and_settle_when_they_are_heard() -> None:
    transcript = fed(*said("a", "Hello?"), *answering("b", "It", " is"))
    assert settled(transcript) == [("you", "Hello?", State.DONE)]
    assert [entry.text for entry in transcript.open] == ["It is"]
    transcript.take(done("b"))
    assert settled(transcript) == []
    transcript.heard_out("b")
    assert settled(transcript) == [("parley", "It is", State.DONE)]
    assert transcript.open == []


def test_nothing_overtakes_what_began_before_it() -> None:
    transcript = fed(*said("a", "Hello?")[:2], *answering("b", "Hi."), done("b"))
    transcript.heard_out("b")
    assert settled(transcript) == []
    for each in said("a", "Hello?")[2:]:
        transcript.take(each)
    assert [text for _, text, _ in settled(transcript)] == ["Hello?", "Hi."]


def test_what_was_heard_is_what_the_server_says_after_it_was_told() -> None:
    transcript = fed(*answering("b", "One two", " three."))
    transcript.cutting("b")
    transcript.take(done("b", "cancelled", output=words("One two three.")))
    assert settled(transcript) == []
    item = {"id": "b", **words("One two")[0]}
    transcript.take(event("conversation.item.retrieved", item=item))
    (entry,) = transcript.settled()
    assert (entry.state, entry.heard) == (State.CUT, "One two")


def test_an_answer_that_was_not_heard_makes_room_for_the_next() -> None:
    started = answering("b", "Wrong")[:2]
    assert fed(*started, done("b", "cancelled")).open == []


@pytest.mark.parametrize("text", ["", "  "])
def test_a_noise_is_nothing(text: str) -> None:
    assert fed(*said("a", text)).open == []


def test_failures_say_why() -> None:
    failed = event(f"{TRANSCRIPTION}.failed", item_id="a", error={"message": "no model"})
    details = {"error": {"message": "no memory"}}
    transcript = fed(*said("a", "x")[:2], failed, *answering("b", "It"))
    transcript.take(done("b", "failed", status_details=details))
    assert [entry.problem for entry in transcript.settled()] == ["no model", "no memory"]


def test_what_never_ends_does_not_keep_the_rest() -> None:
    transcript = fed(*(each for n in range(40) for each in said(f"a{n}", "x")[:1]))
    assert len(transcript.settled()) == 34
    assert len(transcript.open) == 6


def test_at_the_end_what_was_said_is_kept() -> None:
    transcript = fed(*answering("b", "It is"), *said("a", "")[:1])
    transcript.finish()
    assert settled(transcript) == [("parley", "It is", State.DONE)]


# --- how it looks ---


def drawn(entry: Entry, width: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width)
    for line in lines(entry, width):
        assert line.cell_len <= width
        console.print(line)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_keep_clear_of_who_speaks() -> None:
    text = "The capital city of France is Paris, and it is large."
    assert drawn(Entry("b", "parley", State.DONE, text)) == (
        "parley  The capital city of France is \n        Paris, and it is large.\n"
    )


def test_what_is_awaited_is_shown() -> None:
    assert drawn(Entry("a", "you", State.AWAITED)) == "   you  …\n"


def test_what_was_not_heard_is_struck_out() -> None:
    (line,) = lines(Entry("b", "parley", State.CUT, "One two three.", "One two"), 80)
    assert line.plain == "parley  One two three."
    styled = [(line.plain[span.start : span.end], span.style) for span in line.spans]
    assert styled == [("parley  ", "bold cyan"), (" three.", "dim strike")]
    assert not line.style  # which all of it would have


def test_a_server_cannot_steer_the_terminal() -> None:
    shown = drawn(Entry("b", "parley", State.DONE, "a\x1b[2J\n b\u202e"), 80)
    assert "\x1b" not in shown
    assert shown == "parley  a\\x1b[2J b\\u202e\n"


def test_where_a_turn_s_time_went_is_one_line() -> None:
    marks = {name: 1_000 + 100 * n for n, name in enumerate(MARKS)}
    told = "900 ms: pause 100, recognition 200, model 300, speech 200, delivery 100"
    assert timing(marks) == told
    assert len(told) + 8 <= 80
    assert timing({}) == ""
