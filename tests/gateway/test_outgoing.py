"""What clients are shown: every event is one the protocol defines, in the protocol's order."""

import base64
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from gateway.answer import Answer, Status
from gateway.happenings import ResponseEnded
from gateway.protocols.realtime import items, outgoing
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.events import Event
from gateway.protocols.realtime.responses import ResponseView
from shared.audio import mulaw_decode
from shared.messages import (
    CommitRefused,
    Committed,
    FunctionCall,
    FunctionOutput,
    Item,
    ItemAdded,
    Part,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TextDone,
    TimeoutTriggered,
    Transcribed,
    TranscriptionFailed,
    Truncated,
)
from shared.settings import Settings
from tests.gateway.schema import Json, check

CREATED = ResponseCreated(response_id="resp_1", item_id="item_2", modality="audio")
CREATED_TEXT = ResponseCreated(response_id="resp_1", item_id="item_2", modality="text")
DONE = TextDone(
    response_id="resp_1", segments=1, finish="stop", input_tokens=7, output_tokens=3, marks={}
)


def view(created: ResponseCreated, *, output: str = "audio/pcm") -> ResponseView:
    configuration = Configuration(Settings(), "parley").updated(
        {"audio": {"output": {"format": {"type": output}}}}
    )
    return ResponseView(created, configuration, conversation_id="conv_1")


def text(words: str, at: int = 0) -> TextDelta:
    return TextDelta(response_id="resp_1", segment=0, at=at, text=words)


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
        *response.begin("item_1"),
        response.text(text("Hello there.")),
        response.audio(audio),
        *response.ended(ended(CREATED, "completed"), "item_1"),
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
        *response.begin("item_1"),
        response.text(text("Hello ")),
        response.text(text("there.", 6)),
        *response.ended(ended(CREATED_TEXT, "completed"), "item_1"),
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
    response.begin(None)
    events = response.ended(ended(created, status, reason), None)
    check(*events)
    done = events[-1]["response"]
    assert (done["status"], done["status_details"]) == (status, details)
    assert events[-2]["type"] == "response.output_item.done"
    assert events[-2]["item"]["status"] == "incomplete"


def test_a_response_that_ends_before_its_text_has_used_nothing() -> None:
    end = ResponseEnded(Answer.begun(CREATED, 1.0), "cancelled", "", "turn_detected")
    events = view(CREATED).ended(end, None)
    check(*events)
    assert kinds(events) == ["response.done"]
    assert events[0]["response"]["usage"]["total_tokens"] == 0
    assert events[0]["response"]["output"] == []


def test_audio_goes_out_in_the_format_that_was_chosen() -> None:
    samples = mulaw_decode(bytes(range(100)))
    created = msgspec.structs.replace(CREATED, output_rate=8_000)
    event = view(created, output="audio/pcmu").audio(samples)
    check(event)
    assert base64.b64decode(event["delta"]) == bytes(range(100))


def test_audio_that_was_made_for_another_format_is_shown_as_what_it_is() -> None:
    samples = mulaw_decode(bytes(range(100)))
    created = msgspec.structs.replace(CREATED, output_rate=8_000)
    response = view(created, output="audio/pcm")  # since a moment ago
    [event] = response.created()
    assert event["response"]["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    assert base64.b64decode(response.audio(samples)["delta"]) == bytes(range(100))


@pytest.mark.parametrize(
    ("item", "content"),
    [
        (Item.of(item_id="a", role="user", text="Hi."), {"type": "input_text", "text": "Hi."}),
        (Item.of(item_id="a", role="system", text="Hi."), {"type": "input_text", "text": "Hi."}),
        (
            Item.of(item_id="a", role="assistant", text="Hi."),
            {"type": "output_text", "text": "Hi."},
        ),
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
    assert items.shown(item)["content"] == [content]
    added = ItemAdded(item=item)
    check(*outgoing.item_added(added, None), *outgoing.item_added(added, "item_0"))


def test_items_that_are_no_messages() -> None:
    call = FunctionCall(item_id="a", call_id="call_1", name="look", arguments="{}")
    output = FunctionOutput(item_id="b", call_id="call_1", output="fog")
    cases: list[tuple[FunctionCall | FunctionOutput, Json]] = [
        (call, {"type": "function_call", "name": "look", "arguments": "{}"}),
        (output, {"type": "function_call_output", "output": "fog"}),
    ]
    for item, rest in cases:
        events = outgoing.item_added(ItemAdded(item=item), None)
        check(*events)
        common = {"id": item.item_id, "object": "realtime.item", "status": "completed"}
        assert events[0]["item"] == {**common, "call_id": "call_1", **rest}


def test_parts_are_shown_in_their_order() -> None:
    parts = [Part(text="This?"), Part(modality="audio"), Part(modality="audio", text="Or that?")]
    item = Item(item_id="a", role="user", parts=parts)
    check(*outgoing.item_added(ItemAdded(item=item), None))
    assert items.shown(item)["content"] == [
        {"type": "input_text", "text": "This?"},
        {"type": "input_audio", "transcript": None},
        {"type": "input_audio", "transcript": "Or that?"},
    ]


def test_a_silence_that_was_too_long() -> None:
    event = outgoing.timed_out(TimeoutTriggered(item_id="item_1", since=8_000, at=88_000))
    check(event)
    assert (event["audio_start_ms"], event["audio_end_ms"]) == (500, 5_500)


def test_an_answer_that_was_cut() -> None:
    event = outgoing.truncated(Truncated(item_id="item_1", audio_end_ms=75))
    check(event)
    assert (event["content_index"], event["audio_end_ms"]) == (0, 75)


def test_the_words_of_a_part_name_its_place() -> None:
    heard = Transcribed(item_id="a", text="Hi.", language=None, audio_s=1.0, content_index=2)
    failed = TranscriptionFailed(item_id="a", message="no", content_index=2)
    events = [*outgoing.transcribed(heard), outgoing.transcription_failed(failed)]
    check(*events)
    assert [event["content_index"] for event in events] == [2, 2, 2]


CALLS = [
    FunctionCall(item_id="item_3", call_id="call_1", name="look", arguments='{"at": "sky"}'),
    FunctionCall(item_id="item_4", call_id="call_2", name="wait", arguments="{}"),
]


@pytest.mark.parametrize("spoke", [True, False])
def test_calls_come_after_what_was_said(spoke: bool) -> None:
    response = view(CREATED_TEXT)
    events = response.created()
    if spoke:
        events += [*response.begin("item_1"), response.text(text("Hello there."))]
    called = [
        *response.called(CALLS[0], 0, "item_1"),
        *response.called(CALLS[1], 1, "item_3"),
    ]
    end = ended(CREATED_TEXT, "completed")
    end.answer.done = msgspec.structs.replace(DONE, calls=CALLS)
    last = response.ended(end, "item_1")
    check(*events, *called, *last)
    assert kinds(called[:6]) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
    ]
    assert {event["output_index"] for event in called[:6] if "output_index" in event} == {
        int(spoke)
    }
    assert called[6]["output_index"] == 1 + spoke
    assert (called[0]["item"]["status"], called[0]["item"]["arguments"]) == ("in_progress", "")
    assert called[1]["previous_item_id"] == called[4]["previous_item_id"] == "item_1"
    assert (called[3]["name"], called[3]["arguments"]) == ("look", '{"at": "sky"}')
    assert called[5]["item"] == items.shown(CALLS[0])
    output = last[-1]["response"]["output"]
    assert [item["id"] for item in output] == ["item_2"] * spoke + ["item_3", "item_4"]


def test_a_response_aside_is_none_of_the_conversation_s() -> None:
    shown = {
        "output_modalities": ["text"],
        "max_output_tokens": 5,
        "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"}},
        "metadata": {"topic": "tea"},
    }
    asked = {"aside": True, "protocol": json.dumps(shown), "output_rate": 8_000}
    created = msgspec.structs.replace(CREATED_TEXT, **asked)
    response = view(created)
    events = [
        *response.created(),
        *response.begin(None),
        response.text(text("Hello there.")),
        *response.called(CALLS[0], 0, None),
        *response.ended(ended(created, "completed"), None),
    ]
    check(*events)
    assert not [kind for kind in kinds(events) if kind.startswith("conversation.")]
    for whole in (events[0]["response"], events[-1]["response"]):
        assert whole["conversation_id"] is None
        assert {name: whole[name] for name in shown} == shown


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
