"""What clients send: whatever it is, it is understood or refused by the name of its field."""

import base64
import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai.types.realtime import InputAudioBufferAppendEvent

from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.incoming import (
    _MODELS,
    Append,
    SessionUpdate,
    _parse,
    item_fields,
    parse,
)
from gateway.protocols.realtime.items import audio_bytes

Json = dict[str, Any]


def update(**session: Any) -> Json:
    return {"type": "session.update", "session": session}


def hearing(**fields: Any) -> Json:
    return update(audio={"input": fields})


def detection(**fields: Any) -> Json:
    return hearing(turn_detection={"type": "server_vad", **fields})


def speaking(**fields: Any) -> Json:
    return update(audio={"output": fields})


def append(audio: Any) -> Json:
    return {"type": "input_audio_buffer.append", "audio": audio}


def create(**item: Any) -> Json:
    return {"type": "conversation.item.create", "item": item}


def message(*content: Json, role: Any = "user", **fields: Any) -> Json:
    return create(type="message", role=role, content=list(content), **fields)


def respond(**response: Any) -> Json:
    return {"type": "response.create", "response": response}


def problem(event: Json) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        parse(json.dumps(event))
    return caught.value


# --- events ---


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        '{"type": "response.cancel",}',
        '{"type": NaN}',
        '{"type": "response.cancel", "response_id": "\\ud800"}',
        "[" * 100_000,
    ],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="valid JSON") as caught:
        parse(text)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize("text", ["[]", "null", "17", '"session.update"', "true"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="must be a JSON object"):
        parse(text)


@pytest.mark.parametrize("kind", [None, 17, [], {}, "", "session.updated", "response.make"])
def test_an_unknown_type_is_refused_and_the_known_ones_are_named(kind: Any) -> None:
    found = problem({"type": kind, "event_id": "mine"})
    assert (found.code, found.param, found.event_id) == ("unknown_event", "type", "mine")
    assert "session.update" in found.message


def test_an_event_without_a_type_is_refused() -> None:
    assert problem({"audio": ""}).param == "type"


@pytest.mark.parametrize(
    ("event", "param", "code"),
    [
        # fields that are missing
        ({"type": "session.update"}, "session", "missing_required_parameter"),
        ({"type": "input_audio_buffer.append"}, "audio", "missing_required_parameter"),
        ({"type": "conversation.item.create"}, "item", "missing_required_parameter"),
        (create(type="message", role="user"), "item.content", "missing_required_parameter"),
        (
            {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0},
            "audio_end_ms",
            "missing_required_parameter",
        ),
        (
            hearing(turn_detection={"threshold": 0.4}),
            "session.audio.input.turn_detection.type",
            "missing_required_parameter",
        ),
        # fields that do not exist
        (update(modalities=["audio"]), "session.modalities", "unknown_parameter"),
        (
            detection(silence_ms=200),
            "session.audio.input.turn_detection.silence_ms",
            "unknown_parameter",
        ),
        (append("") | {"adio": ""}, "adio", "unknown_parameter"),
        (respond(foo=5), "response.foo", "unknown_parameter"),
        # fields of the wrong type
        ({"type": "response.cancel", "event_id": 5}, "event_id", "invalid_value"),
        (update() | {"session": []}, "session", "invalid_value"),
        (update(type="chat"), "session.type", "invalid_value"),
        (update(instructions=5), "session.instructions", "invalid_value"),
        (update(model=5), "session.model", "invalid_value"),
        (update(max_output_tokens="12"), "session.max_output_tokens", "invalid_value"),
        (update(max_output_tokens=True), "session.max_output_tokens", "invalid_value"),
        (update(output_modalities=["video"]), "session.output_modalities.0", "invalid_value"),
        (update(tool_choice="perhaps"), "session.tool_choice", "invalid_value"),
        (update(audio=5), "session.audio", "invalid_value"),
        (hearing(format="pcm16"), "session.audio.input.format", "invalid_value"),
        (
            hearing(format={"type": "audio/opus"}),
            "session.audio.input.format.type",
            "invalid_value",
        ),
        (
            hearing(format={"type": "audio/pcm", "rate": 16_000}),
            "session.audio.input.format.rate",
            "invalid_value",
        ),
        (
            hearing(transcription={"language": 5}),
            "session.audio.input.transcription.language",
            "invalid_value",
        ),
        (
            hearing(turn_detection={"type": "psychic"}),
            "session.audio.input.turn_detection.type",
            "invalid_value",
        ),
        (
            detection(threshold="0.7"),
            "session.audio.input.turn_detection.threshold",
            "invalid_value",
        ),
        (
            detection(silence_duration_ms=200.5),
            "session.audio.input.turn_detection.silence_duration_ms",
            "invalid_value",
        ),
        (
            detection(create_response=1),
            "session.audio.input.turn_detection.create_response",
            "invalid_value",
        ),
        (speaking(speed="1.2"), "session.audio.output.speed", "invalid_value"),
        (speaking(speed=True), "session.audio.output.speed", "invalid_value"),
        (speaking(voice=5), "session.audio.output.voice", "invalid_value"),
        (append(5), "audio", "invalid_value"),
        (append(None), "audio", "invalid_value"),
        (create(), "item.type", "missing_required_parameter"),
        (create(type="message"), "item.role", "missing_required_parameter"),
        (
            create(type="function_call_output", call_id="a"),
            "item.output",
            "missing_required_parameter",
        ),
        (respond(input={}), "response.input", "invalid_value"),
        (respond(input=["a"]), "response.input.0", "invalid_value"),
        (create(type="thought"), "item.type", "invalid_value"),
        (message(role="narrator"), "item.role", "invalid_value"),
        (message(id=5), "item.id", "invalid_value"),
        (message({"type": "song"}), "item.content.0.type", "invalid_value"),
        (
            message({"type": "input_text", "text": "a"}, {"type": "input_text", "text": 5}),
            "item.content.1.text",
            "invalid_value",
        ),
        (respond(max_output_tokens="3"), "response.max_output_tokens", "invalid_value"),
    ],
)
def test_a_bad_field_is_named(event: Json, param: str, code: str) -> None:
    found = problem(event | {"event_id": event.get("event_id", "mine")})
    assert (found.param, found.code) == (param, code)
    assert found.message.startswith(param)
    assert found.event_id == (None if param == "event_id" else "mine")


@pytest.mark.parametrize(
    ("item", "param", "code"),
    [
        ({}, "input.3.type", "missing_required_parameter"),
        ({"type": "item_ref"}, "input.3.type", "invalid_value"),
        ({"type": "message", "role": "user"}, "input.3.content", "missing_required_parameter"),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 5}]},
            "input.3.content.0.text",
            "invalid_value",
        ),
        (
            {"type": "function_call", "name": "f", "arguments": "{}", "id": "a", "spin": 1},
            "input.3.spin",
            "unknown_parameter",
        ),
    ],
)
def test_a_bad_field_of_an_item_inside_an_event_is_named(item: Json, param: str, code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        item_fields(item, "input.3")
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.message.startswith(param)


def test_of_several_types_that_would_do_the_message_names_the_choice() -> None:
    role = problem(message(role="narrator"))
    assert role.message == "item.role must be 'system' or 'user' or 'assistant'"
    kind = problem(hearing(turn_detection={"type": "psychic"}))
    assert kind.message.endswith("type must be 'server_vad' or 'semantic_vad'")
    tokens = problem(update(max_output_tokens="many"))
    assert tokens.message == "session.max_output_tokens must be a valid integer or 'inf'"
    model = problem(update(model=5))
    assert model.message == "session.model must be a valid string"


def test_a_session_without_a_type_is_one_that_talks() -> None:
    parsed = parse(json.dumps(update(instructions="Be brief.")))
    assert isinstance(parsed, SessionUpdate)
    assert parsed.session.model_dump(exclude_unset=True) == {"instructions": "Be brief."}


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
_NAMES = st.sampled_from(
    re.findall(
        r"\w+",
        "session audio input output turn_detection type item content role response event_id "
        "format voice speed item_id previous_item_id audio_end_ms",
    )
)
_OBJECTS = st.recursive(
    _SCALARS | st.sampled_from(["realtime", "server_vad", "message", "user", "input_text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=12,
)


@given(fields=st.dictionaries(st.text(), _VALUES))
def test_any_object_is_understood_or_refused(fields: Json) -> None:
    with pytest.raises(ProtocolError):
        parse(json.dumps(fields))


@given(kind=st.sampled_from(sorted(_MODELS)), fields=st.dictionaries(_NAMES, _OBJECTS))
def test_any_fields_of_an_event_are_understood_or_refused(kind: str, fields: Json) -> None:
    with contextlib.suppress(ProtocolError):
        assert parse(json.dumps(fields | {"type": kind})).type == kind


@given(text=st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse(text)


# --- audio ---


def appended(audio: str) -> bytes:
    parsed = parse(json.dumps(append(audio)))
    assert isinstance(parsed, Append | InputAudioBufferAppendEvent)
    return parsed.audio if isinstance(parsed, Append) else audio_bytes(parsed.audio, "audio")


def test_audio_is_base64() -> None:
    assert appended("AAEC") == b"\x00\x01\x02"
    assert appended("") == b""


@pytest.mark.parametrize("audio", ["A", "AAE", "AA=A", "AA EC", "AAE_", "é", "data:AAEC"])
def test_audio_that_is_not_base64_is_refused(audio: str) -> None:
    with pytest.raises(ProtocolError, match="audio must be base64") as caught:
        appended(audio)
    assert caught.value.param == "audio"


def test_an_append_is_read_in_one_step() -> None:
    assert isinstance(parse(json.dumps(append("AAEC") | {"event_id": "e"})), Append)


_VALUES = st.one_of(
    st.binary(max_size=7).map(lambda data: json.dumps(base64.b64encode(data).decode())),
    st.text("AZaz09+/=_- \n\\", max_size=9).map(json.dumps),
    st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(
        ["null", "0", "[]", '"\\ud800"', '"\\ud83d\\ude00"', '"\x01"', json.dumps(600 * ",")]
    ),
)
_FIELDS = st.one_of(
    st.just(("type", '"input_audio_buffer.append"')),
    st.tuples(st.sampled_from(["audio", "audio", "event_id", "type", "sound"]), _VALUES),
)
_SPACES = st.sampled_from(["", "", " ", "\n", "\t", "\x0b", "\ufeff"])


@given(fields=st.lists(_FIELDS, max_size=4), space=_SPACES, end=_SPACES)
@example(fields=[("type", '"input_audio_buffer.append"'), ("audio", '"AB=="')], space="", end="")
def test_audio_read_in_one_step_is_what_the_long_way_says(
    fields: list[tuple[str, str]], space: str, end: str
) -> None:
    text = f"{{{space}" + f",{space}".join(f'"{name}":{space}{given}' for name, given in fields)
    text += f"}}{end}"
    found: Any = None
    with contextlib.suppress(ProtocolError):
        found = parse(text)
    if not isinstance(found, Append):
        return
    slow = _parse(text, None)
    assert isinstance(slow, InputAudioBufferAppendEvent)
    assert (audio_bytes(slow.audio, "audio"), slow.event_id) == (found.audio, found.event_id)
