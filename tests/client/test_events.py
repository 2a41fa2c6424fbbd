"""Events as objects: known ones have classes, others are read by the names of their fields."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from client import Event, ParleyError
from client.events import (
    KINDS,
    ErrorEvent,
    FunctionCallArgumentsDone,
    InputTranscriptionFailed,
    OutputAudioDelta,
    ResponseDone,
    SessionResumed,
)
from client.objects import Response

COVERAGE = Path(__file__).parents[2] / "docs" / "realtime-coverage.md"
BETA = {"conversation.created", "conversation.item.created"}
PLACE = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}


def parsed(kind: str, **fields: object) -> Event:
    return Event.parse(json.dumps({"type": kind, "event_id": "event_1", **fields}))


def test_every_event_that_a_server_sends_has_a_class() -> None:
    """The page is made by asking a running server."""
    text = COVERAGE.read_text()
    [section] = re.findall(r"## Server events\n(.*?)\n##", text, re.DOTALL)
    sent = {*re.findall(r"^\| `(.*?)` \| sent", section, re.MULTILINE)} - BETA
    assert len(sent) > 25
    assert {*KINDS} - sent == {"parley.session.resumed", "parley.timings"}
    assert sent - {*KINDS} == set()


def test_a_known_event_is_of_its_class_and_keeps_its_fields() -> None:
    match parsed("response.output_audio.delta", delta="AQACAA==", **PLACE):
        case OutputAudioDelta(item_id="item_1") as event:
            assert np.array_equal(event.audio, [1, 2])
            assert event.response_id == event["response_id"] == "resp_1"
            assert event.fields["event_id"] == "event_1"
        case other:
            raise AssertionError(other)


def test_what_an_answer_consisted_of() -> None:
    call = {"id": "item_2", "type": "function_call", "name": "look_up", "arguments": "{}"}
    details = {"type": "failed", "error": {"message": "llm failed"}}
    done = {"id": "resp_1", "status": "failed", "status_details": details, "output": [call]}
    event = parsed("response.done", response=done)
    assert isinstance(event, ResponseDone)
    assert event.response.output[0].name == "look_up"
    assert event.response.reason == "llm failed"
    assert event.response_id == "resp_1"
    assert Response("resp_1", "cancelled", {"reason": "turn_detected"}).reason == "turn_detected"
    assert Response("resp_1", "completed").reason is None


def test_errors() -> None:
    event = parsed("error", error={"message": "no", "code": "invalid_value", "param": "type"})
    assert isinstance(event, ErrorEvent)
    assert (event.problem.message, event.problem.param) == ("no", "type")
    assert event.error is not None
    assert event.error.code == "invalid_value"
    place = {"item_id": "item_1", "content_index": 0}
    kind = "conversation.item.input_audio_transcription.failed"
    failed = parsed(kind, error={"message": "stt failed"}, **place)
    assert isinstance(failed, InputTranscriptionFailed)
    assert failed.problem.message == "stt failed"
    assert failed.error is None  # the session had no error


def test_an_event_of_the_future_is_read_by_its_fields() -> None:
    event = parsed("response.sung", song="Ode to Joy", response_id="resp_1")
    assert type(event) is Event
    assert event["song"] == "Ode to Joy"
    assert event.response_id == "resp_1"
    with pytest.raises(KeyError, match="delta"):
        event["delta"]


def test_fields_of_the_future_are_kept() -> None:
    event = parsed("parley.session.resumed", requests=3, audio_ms=4180, mood="good")
    assert isinstance(event, SessionResumed)
    assert (event.requests, event.audio_ms, event["mood"]) == (3, 4180, "good")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "missing required field `response_id`"),
        ({**PLACE, "call_id": 5}, r"Expected `str`, got `int` - at `\$\.call_id`"),
    ],
)
def test_a_known_event_that_is_malformed_is_refused(
    fields: dict[str, object], problem: str
) -> None:
    kind = next(kind for kind, known in KINDS.items() if known is FunctionCallArgumentsDone)
    with pytest.raises(ParleyError, match=f"must send {kind} as the protocol has it: .*{problem}"):
        parsed(kind, **fields)


@pytest.mark.parametrize("kind", [5, None, [], {}])
def test_a_type_is_text(kind: object) -> None:
    with pytest.raises(ParleyError, match="the server must send"):
        Event.parse(json.dumps({"type": kind}))
