"""What clients of the beta are shown."""

from typing import Any

import pytest

from gateway.protocols.realtime.beta import from_ga
from tests.gateway.beta_events import shown

Json = dict[str, Any]

# --- what clients are shown ---

PLACE = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
SPOKEN = {
    "id": "item_1",
    "object": "realtime.item",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_audio", "transcript": "Hi."}],
}


@pytest.mark.parametrize(
    ("today", "before"),
    [
        ("response.output_audio.delta", "response.audio.delta"),
        ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
        ("response.output_text.delta", "response.text.delta"),
    ],
)
def test_pieces_of_an_answer_have_other_names(today: str, before: str) -> None:
    assert shown({"type": today, "delta": "d", **PLACE}) == [
        {"type": before, "delta": "d", **PLACE}
    ]


@pytest.mark.parametrize(
    ("today", "before", "field"),
    [
        ("response.output_audio.done", "response.audio.done", {}),
        (
            "response.output_audio_transcript.done",
            "response.audio_transcript.done",
            {"transcript": "Hi."},
        ),
        ("response.output_text.done", "response.text.done", {"text": "Hi."}),
    ],
)
def test_ends_of_an_answer_have_other_names(today: str, before: str, field: Json) -> None:
    assert shown({"type": today, **PLACE, **field}) == [{"type": before, **PLACE, **field}]


def test_an_item_is_created_once() -> None:
    event = {"type": "conversation.item.added", "previous_item_id": None, "item": SPOKEN}
    (created,) = shown(event)
    assert created["type"] == "conversation.item.created"
    assert created["item"]["content"] == [{"type": "audio", "transcript": "Hi."}]
    assert shown({**event, "type": "conversation.item.done"}) == []


def test_the_user_s_items_keep_their_words() -> None:
    content = [{"type": "input_audio", "transcript": None}, {"type": "input_text", "text": "a"}]
    item = {**SPOKEN, "role": "user", "content": content}
    (created,) = shown({"type": "conversation.item.added", "item": item})
    assert created["item"]["content"] == content


def test_a_silence_that_ran_out_has_no_word() -> None:
    assert from_ga({"type": "input_audio_buffer.timeout_triggered", "item_id": "a"}) == []


def test_a_function_call_is_shown() -> None:
    place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "call_id": "call_1"}
    kind = "response.function_call_arguments"
    (done,) = shown({"type": f"{kind}.done", "name": "look_up", "arguments": "{}", **place})
    assert done == {"type": f"{kind}.done", "arguments": "{}", **place}
    call = {"id": "item_1", "object": "realtime.item", "type": "function_call"}
    call |= {"status": "completed", "name": "look_up", "call_id": "call_1", "arguments": "{}"}
    added = {"type": "response.output_item.done", "response_id": "resp_1", "output_index": 0}
    assert shown({**added, "item": call}) == [{**added, "item": call}]


def test_a_response_is_flat() -> None:
    response = {
        "object": "realtime.response",
        "id": "resp_1",
        "status": "completed",
        "status_details": None,
        "output": [SPOKEN],
        "conversation_id": "conv_1",
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "audio": {
            "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "ash"},
        },
        "usage": None,
        "metadata": {"a": "b"},
    }
    (done,) = shown({"type": "response.done", "response": response})
    flat = done["response"]
    assert flat["modalities"] == ["audio", "text"]
    assert (flat["output_audio_format"], flat["voice"]) == ("pcm16", "ash")
    assert flat["output"][0]["content"] == [{"type": "audio", "transcript": "Hi."}]
    assert response["output"] == [SPOKEN]


def test_what_has_no_other_name_is_shown_as_it_is() -> None:
    event = {"type": "input_audio_buffer.committed", "item_id": "a", "previous_item_id": None}
    assert shown(event) == [event]
