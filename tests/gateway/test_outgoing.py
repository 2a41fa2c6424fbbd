"""What clients are shown: every event is one the protocol defines, in the protocol's order."""

import base64
from typing import Any, get_args

import numpy as np
import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel

from gateway.answer import Answer, Status
from gateway.happenings import ResponseEnded
from gateway.protocols.realtime import outgoing
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.incoming import ProtocolError
from gateway.protocols.realtime.outgoing import Event, ResponseView
from shared.audio import mulaw_decode
from shared.messages import (
    CommitRefused,
    Committed,
    Item,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
    TextDone,
    Transcribed,
    TranscriptionFailed,
)
from shared.settings import Settings

# The union's members by the type of event they describe.
_MEMBERS: dict[str, type[BaseModel]] = {
    get_args(member.model_fields["type"].annotation)[0]: member
    for member in get_args(get_args(RealtimeServerEvent)[0])
}

CREATED = ResponseCreated(response_id="resp_1", item_id="item_2", modality="audio")
CREATED_TEXT = ResponseCreated(response_id="resp_1", item_id="item_2", modality="text")
DONE = TextDone(
    response_id="resp_1", segments=1, finish="stop", input_tokens=7, output_tokens=3, marks={}
)


def check(*events: Event) -> None:
    """Each event is what the official package's type for it describes, and nothing more.

    Nothing is null that may not be: some clients take a null where the protocol has no field
    for an error.
    """
    for event in events:
        member = _MEMBERS[event["type"]]
        member.model_validate({**event, "event_id": "event_1"}, extra="forbid")
        item = event.get("item")
        if item is not None:
            assert None not in [item[name] for name in ("id", "status", "role", "content")]


def view(created: ResponseCreated, *, output: str = "audio/pcm") -> ResponseView:
    configuration = Configuration(Settings(), "parley").updated(
        {"audio": {"output": {"format": {"type": output}}}}
    )
    return ResponseView(created, configuration, conversation_id="conv_1", previous="item_1")


def ended(created: ResponseCreated, status: Status, reason: str = "") -> ResponseEnded:
    answer = Answer.begun(created, 1.0)
    answer.done = DONE
    return ResponseEnded(answer, status, "Hello there.", reason)


def kinds(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def test_a_spoken_response_from_beginning_to_end() -> None:
    response = view(CREATED)
    audio = np.arange(480).astype(np.int16)
    events = [
        *response.created(),
        response.text("Hello there."),
        response.audio(audio),
        *response.ended(ended(CREATED, "completed")),
    ]
    check(*events)
    assert kinds(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert base64.b64decode(events[5]["delta"]) == audio.tobytes()
    assert events[1]["item"]["status"] == "in_progress"
    assert events[2]["previous_item_id"] == events[9]["previous_item_id"] == "item_1"
    assert events[8]["part"] == {"type": "audio", "transcript": "Hello there."}
    content = [{"type": "output_audio", "transcript": "Hello there."}]
    assert events[10]["item"]["content"] == content
    done = events[11]["response"]
    assert (done["status"], done["status_details"]) == ("completed", None)
    assert done["usage"]["total_tokens"] == 10
    assert done["output"] == [events[10]["item"]]


def test_a_written_response_from_beginning_to_end() -> None:
    response = view(CREATED_TEXT)
    events = [
        *response.created(),
        response.text("Hello "),
        response.text("there."),
        *response.ended(ended(CREATED_TEXT, "completed")),
    ]
    check(*events)
    assert kinds(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert events[7]["part"] == {"type": "text", "text": "Hello there."}
    assert events[9]["item"]["content"] == [{"type": "output_text", "text": "Hello there."}]
    assert events[10]["response"]["output_modalities"] == ["text"]


@pytest.mark.parametrize("created", [CREATED, CREATED_TEXT])
@pytest.mark.parametrize(
    ("status", "reason", "details"),
    [
        ("incomplete", "", {"type": "incomplete", "reason": "max_output_tokens"}),
        ("cancelled", "turn_detected", {"type": "cancelled", "reason": "turn_detected"}),
        ("cancelled", "client_cancelled", {"type": "cancelled", "reason": "client_cancelled"}),
        (
            "failed",
            "audio was lost",
            {
                "type": "failed",
                "error": {
                    "type": "server_error",
                    "code": "engine_failed",
                    "message": "audio was lost",
                },
            },
        ),
    ],
)
def test_a_response_that_is_not_whole_says_why(
    created: ResponseCreated, status: Status, reason: str, details: dict[str, Any]
) -> None:
    response = view(created)
    response.created()
    events = response.ended(ended(created, status, reason))
    check(*events)
    done = events[-1]["response"]
    assert (done["status"], done["status_details"]) == (status, details)
    assert events[-2]["type"] == "response.output_item.done"
    assert events[-2]["item"]["status"] == "incomplete"


def test_a_response_that_ends_before_its_text_has_used_nothing() -> None:
    end = ResponseEnded(Answer.begun(CREATED, 1.0), "cancelled", "", "turn_detected")
    events = view(CREATED).ended(end)
    check(*events)
    assert events[-1]["response"]["usage"]["total_tokens"] == 0


def test_audio_goes_out_in_the_format_that_was_chosen() -> None:
    samples = mulaw_decode(bytes(range(100)))
    event = view(CREATED, output="audio/pcmu").audio(samples)
    check(event)
    assert base64.b64decode(event["delta"]) == bytes(range(100))


@pytest.mark.parametrize(
    ("item", "content"),
    [
        (Item.of(item_id="a", role="user", text="Hi."), {"type": "input_text", "text": "Hi."}),
        (Item.of(item_id="a", role="system", text="Hi."), {"type": "input_text", "text": "Hi."}),
        (Item.of(item_id="a", role="assistant", text="Hi."), {"type": "output_text", "text": "Hi."}),
        (
            Item.of(item_id="a", role="assistant", text="Hi.", modality="audio"),
            {"type": "output_audio", "transcript": "Hi."},
        ),
        (
            Item.of(item_id="a", role="user", text="Hi.", modality="audio"),
            {"type": "input_audio", "transcript": "Hi."},
        ),
        (
            Item.of(item_id="a", role="user", modality="audio"),
            {"type": "input_audio", "transcript": None},
        ),
    ],
)
def test_items_by_role_and_modality(item: Item, content: dict[str, Any]) -> None:
    shown = outgoing.item_json(item)
    assert shown["content"] == [content]
    check(*outgoing.item_added(shown, None), *outgoing.item_added(shown, "item_0"))


def test_the_user_s_turn() -> None:
    started = outgoing.speech(SpeechStarted(item_id="item_1", turn=1, at=16_000))
    stopped = outgoing.speech(SpeechStopped(item_id="item_1", turn=1, at=40_000))
    events = outgoing.committed(Committed(item_id="item_1", audio_ms=1_500), None)
    heard = Transcribed(item_id="item_1", text="Hello.", language="en", audio_s=1.5)
    transcript = outgoing.transcribed(heard)
    check(started, stopped, *events, *transcript)
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (1_000, 2_500)
    assert kinds([started, stopped, *events, *transcript]) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    assert events[1]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert transcript[1]["usage"] == {"type": "duration", "seconds": 1.5}


def test_a_transcription_that_failed() -> None:
    failed = TranscriptionFailed(item_id="item_1", message="the engine crashed")
    event = outgoing.transcription_failed(failed)
    check(event)
    assert event["error"]["message"] == "the engine crashed"


def test_errors_carry_the_client_s_own_event_id() -> None:
    problem = ProtocolError("audio is required", param="audio", event_id="mine")
    refused = outgoing.commit_refused(CommitRefused(audio_ms=80, reference="mine"))
    check(outgoing.error(problem), refused)
    assert refused["error"]["event_id"] == "mine"
    assert refused["error"]["code"] == "input_audio_buffer_commit_empty"
    assert "80 ms" in refused["error"]["message"]
