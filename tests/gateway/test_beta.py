"""The beta of the protocol: translated events are ones that its types define."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.realtime import beta
from gateway.protocols.realtime.asked import asked
from gateway.protocols.realtime.beta import from_ga, to_ga
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.incoming import ResponseCreate, parse
from shared.messages import NamedTool, SessionConfig, TurnDetection
from tests.gateway.beta_events import CLIENT, LOOK_UP, SETTINGS, echoed, sent, shown, updated

Json = dict[str, Any]

# --- who asks for it ---


@pytest.mark.parametrize(
    ("headers", "subprotocols", "expected"),
    [
        ({}, [], False),
        ({"openai-beta": "realtime=v1"}, [], True),
        ({"openai-beta": "assistants=v2, realtime=v1"}, [], True),
        ({"openai-beta": "assistants=v2"}, [], False),
        ({}, ["realtime", "openai-insecure-api-key.k", "openai-beta.realtime-v1"], True),
        ({}, ["realtime"], False),
    ],
)
def test_clients_say_whether_they_want_it(
    headers: dict[str, str], subprotocols: list[str], expected: bool
) -> None:
    assert beta.wanted(headers, subprotocols) is expected


# --- sessions ---

WHOLE = {
    "model": "gpt-4o-realtime-preview",
    "modalities": ["text", "audio"],
    "instructions": "Be brief.",
    "voice": "ash",
    "input_audio_format": "g711_ulaw",
    "output_audio_format": "g711_alaw",
    "input_audio_transcription": {"model": "whisper-1", "language": "de", "prompt": "Parley"},
    "input_audio_noise_reduction": {"type": "far_field"},
    "turn_detection": {
        "type": "server_vad",
        "threshold": 0.7,
        "prefix_padding_ms": 100,
        "silence_duration_ms": 300,
        "create_response": False,
        "interrupt_response": False,
    },
    "tools": [LOOK_UP],
    "tool_choice": "required",
    "temperature": 0.8,
    "max_response_output_tokens": 90,
    "speed": 1.1,
    "tracing": "auto",
}


def test_every_field_of_a_session_arrives_and_comes_back() -> None:
    changed = updated(Configuration(SETTINGS), **WHOLE)
    meaning = changed.meaning
    assert meaning == SessionConfig(
        instructions="Be brief.",
        language="de",
        transcription_prompt="Parley",
        turn_detection=TurnDetection(
            threshold=0.7,
            prefix_ms=100,
            silence_ms=300,
            create_response=False,
            interrupt_response=False,
        ),
        modality="audio",
        voice="joe",
        speed=1.1,
        output_rate=8_000,
        max_output_tokens=90,
        tooling=changed.tooling,
        protocol=meaning.protocol,
    )
    assert (meaning.tooling.choice, meaning.tooling.tools[0].name) == ("required", "look_up")
    assert changed.noise_reduction == {"type": "far_field"}
    expected = {**WHOLE, "id": "sess_1", "object": "realtime.session"}
    expected["modalities"] = ["audio", "text"]
    del expected["temperature"]
    assert echoed(changed) == expected


def test_only_the_fields_present_change() -> None:
    before = updated(Configuration(SETTINGS), **WHOLE)
    after = updated(before, instructions="Sing.", turn_detection=None)
    expected = {**before.shown, "instructions": "Sing."}
    expected["audio"]["input"]["turn_detection"] = None
    assert after.shown == expected


@pytest.mark.parametrize(
    ("modalities", "meant"),
    [(["text"], "text"), (["audio"], "audio"), (["text", "audio"], "audio"), (None, "audio")],
)
def test_an_answer_that_is_heard_is_read_too(modalities: Any, meant: str) -> None:
    assert updated(Configuration(SETTINGS), modalities=modalities).meaning.modality == meant


def test_detection_by_sound_and_none() -> None:
    fresh = Configuration(SETTINGS)
    semantic = updated(fresh, turn_detection={"type": "semantic_vad", "eagerness": "low"})
    assert semantic.meaning.turn_detection == TurnDetection(eagerness="low")
    assert updated(fresh, turn_detection={"silence_duration_ms": 90}).meaning.turn_detection == (
        TurnDetection(silence_ms=90)
    )
    assert updated(fresh, turn_detection=None).meaning.turn_detection is None


def test_a_session_begins_with_its_conversation() -> None:
    session = {"id": "sess_1", **Configuration(SETTINGS, "gpt-realtime").shown}
    event = {"type": "session.created", "event_id": "event_1", "session": session}
    created, conversation = from_ga(event)
    assert created["session"]["max_response_output_tokens"] == "inf"
    assert conversation == {
        "type": "conversation.created",
        "event_id": "event_1",
        "conversation": {"id": "conv_1", "object": "realtime.conversation"},
    }


def test_a_resume_token_comes_through() -> None:
    parley = {"resume": {"token": "t"}}
    session = {"id": "sess_1", **Configuration(SETTINGS).shown, "parley": parley}
    created = from_ga({"type": "session.created", "session": session})[0]
    assert created["session"]["parley"] == parley


def test_sessions_that_only_transcribe() -> None:
    fields = {
        "input_audio_format": "g711_alaw",
        "input_audio_transcription": {"model": "whisper-1", "language": "fr"},
        "input_audio_noise_reduction": {"type": "near_field"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 90},
        "modalities": ["text"],
        "include": [],
    }
    request = sent({"type": "transcription_session.update", "session": fields})
    changed = Configuration.transcription(SETTINGS).updated(
        request.session.model_dump(exclude_unset=True)
    )
    assert (changed.meaning.language, changed.input_format.rate) == ("fr", 8_000)
    session = {"id": "sess_1", **changed.shown}
    (event,) = shown(
        {"type": "session.updated", "session": session},
        # There is none: the package has one type for what a POST answers, too.
        but={"session.client_secret", "session.input_audio_noise_reduction"}
        | {"session.id", "session.object"},
    )
    assert event["type"] == "transcription_session.updated"
    assert event["session"] == {
        "id": "sess_1",
        "object": "realtime.transcription_session",
        "input_audio_format": "g711_alaw",
        "input_audio_transcription": {"model": "whisper-1", "language": "fr"},
        "input_audio_noise_reduction": {"type": "near_field"},
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 90,
        },
    }


# --- responses and items ---


def test_a_response_is_asked_for() -> None:
    request = sent(
        {
            "type": "response.create",
            "response": {
                "modalities": ["text"],
                "instructions": "Sing.",
                "voice": "ash",
                "output_audio_format": "g711_ulaw",
                "max_response_output_tokens": 9,
                "temperature": 0.8,
                "conversation": "none",
                "metadata": {"a": "b"},
                "tools": [LOOK_UP],
                "tool_choice": "required",
                "input": [
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [{"type": "text", "text": "Hi."}],
                    },
                    {"type": "item_reference", "id": "item_1"},
                ],
            },
        }
    )
    assert isinstance(request, ResponseCreate)
    found = asked(request.response, Configuration(SETTINGS))
    assert (found.modality, found.instructions, found.voice, found.max_output_tokens) == (
        "text",
        "Sing.",
        "joe",
        9,
    )
    assert (found.aside, found.output_format.rate, found.shown["metadata"]) == (
        True,
        8_000,
        {"a": "b"},
    )
    assert found.input is not None
    assert found.input[0]["content"] == [{"type": "output_text", "text": "Hi."}]
    assert found.input[1] == {"type": "item_reference", "id": "item_1"}


def test_a_function_can_be_named() -> None:
    choice = {"type": "function", "name": "look_up"}
    event = {"type": "response.create", "response": {"tools": [LOOK_UP], "tool_choice": choice}}
    request = parse(json.dumps(to_ga(event)))
    assert isinstance(request, ResponseCreate)
    tooling = asked(request.response, Configuration(SETTINGS)).tooling
    assert tooling is not None
    assert tooling.choice == NamedTool("look_up")


def test_a_response_without_wishes_stays_one() -> None:
    assert to_ga({"type": "response.create"}) == {"type": "response.create"}


def test_the_assistant_s_words_have_another_name() -> None:
    parts = [{"type": "text", "text": "Hi."}]
    item = {"type": "message", "role": "assistant", "content": parts}
    request = to_ga({"type": "conversation.item.create", "previous_item_id": "a", "item": item})
    assert request["item"]["content"] == [{"type": "output_text", "text": "Hi."}]
    assert request["previous_item_id"] == "a"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.append", "audio": ""},
        {"type": "input_audio_buffer.commit"},
        {"type": "response.cancel", "response_id": "resp_1"},
        {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0}
        | {"audio_end_ms": 5},
        {"type": "conversation.item.delete", "item_id": "a"},
    ],
)
def test_what_never_changed_is_left_alone(event: Json) -> None:
    assert to_ga(event) is event
    assert sent(event).type == event["type"]


# --- errors ---


@pytest.mark.parametrize(
    ("today", "before"),
    [
        ("session.audio.input.turn_detection.threshold", "session.turn_detection.threshold"),
        ("session.audio.input.transcription.model", "session.input_audio_transcription.model"),
        ("session.audio.output.voice", "session.voice"),
        ("session.output_modalities", "session.modalities"),
        ("response.max_output_tokens", "response.max_response_output_tokens"),
        ("response.audio.output.voice", "response.voice"),
        ("session.tools.0.name", "session.tools.0.name"),
        ("item.content.0.text", "item.content.0.text"),
    ],
)
def test_errors_call_fields_what_the_client_calls_them(today: str, before: str) -> None:
    error = {"type": "invalid_request_error", "code": "c", "event_id": None}
    error |= {"param": today, "message": f"{today} must be another"}
    (event,) = shown({"type": "error", "error": error})
    assert event["error"] == {**error, "param": before, "message": f"{before} must be another"}


def test_errors_without_a_field_stay_what_they_are() -> None:
    error = {"type": "invalid_request_error", "code": "c", "message": "m", "param": None}
    assert shown({"type": "error", "error": error}) == [{"type": "error", "error": error}]


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ({"type": "session.update", "session": {"temperature": 0.7}}, "session.temperature"),
        ({"type": "response.create", "response": {"temperature": 1}}, "response.temperature"),
        (
            {"type": "session.update", "session": {"input_audio_format": "mp3"}},
            "session.input_audio_format",
        ),
        ({"type": "session.update", "session": {"audio": {}}}, "session.audio"),
        ({"type": "session.update", "session": {"client_secret": {}}}, "session.client_secret"),
        (
            {"type": "transcription_session.update", "session": {"modalities": ["audio"]}},
            "session.modalities",
        ),
    ],
)
def test_what_only_the_beta_had_is_refused(event: Json, param: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        to_ga(event)
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_FIELDS = st.sampled_from([*WHOLE, "input", "conversation", "include", "client_secret"])


@given(
    kind=st.sampled_from(sorted(CLIENT)),
    fields=st.dictionaries(_FIELDS, _JSON | st.sampled_from([*WHOLE.values()])),
    place=st.sampled_from(["session", "response", "item"]),
)
def test_whatever_comes_is_translated_or_refused(kind: str, fields: Json, place: str) -> None:
    translated = None
    with contextlib.suppress(ProtocolError):
        translated = to_ga({"type": kind, place: fields})
    json.dumps(translated)
