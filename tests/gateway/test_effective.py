"""A session's configuration: what an update changes, and what it must not."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateResponse

from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.incoming import ProtocolError, SessionUpdate, parse
from shared.messages import SessionConfig, TurnDetection
from shared.settings import Settings

SETTINGS = Settings(instructions="Be kind.", tts_voice="joe", silence_ms=400)


def fresh() -> Configuration:
    return Configuration(SETTINGS, "parley")


def apply(configuration: Configuration, **session: Any) -> Configuration:
    """As an update that comes over the wire."""
    request = parse(json.dumps({"type": "session.update", "session": session}))
    assert isinstance(request, SessionUpdate)
    return configuration.updated(request.session.model_dump(exclude_unset=True))


def hearing(configuration: Configuration, **fields: Any) -> Configuration:
    return apply(configuration, audio={"input": fields})


def speaking(configuration: Configuration, **fields: Any) -> Configuration:
    return apply(configuration, audio={"output": fields})


def test_a_session_that_asks_for_nothing_gets_the_settings() -> None:
    configuration = fresh()
    assert configuration.meaning == SessionConfig(
        instructions="Be kind.",
        turn_detection=TurnDetection(silence_ms=400),
        voice="joe",
        output_rate=24_000,
        protocol=json.dumps(configuration.shown),
    )


def test_what_is_shown_is_what_the_protocol_defines() -> None:
    shown = {"id": "sess_1", **fresh().shown}
    RealtimeSessionCreateResponse.model_validate(shown, extra="forbid")


def test_an_update_changes_only_the_fields_present() -> None:
    before = fresh()
    after = apply(before, instructions="Be brief.", max_output_tokens=50)
    expected = copy.deepcopy(before.shown)
    expected |= {"instructions": "Be brief.", "max_output_tokens": 50}
    assert after.shown == expected
    assert before.shown == fresh().shown


def test_an_update_of_nothing_changes_nothing() -> None:
    assert apply(fresh()).shown == fresh().shown
    assert apply(fresh(), audio={}).shown == fresh().shown
    assert apply(fresh(), audio={"input": {}, "output": {}}).shown == fresh().shown


def test_nested_objects_keep_the_fields_that_an_update_leaves_out() -> None:
    first = hearing(fresh(), turn_detection={"type": "server_vad", "threshold": 0.7})
    second = hearing(first, turn_detection={"type": "server_vad", "prefix_padding_ms": 100})
    assert second.meaning.turn_detection == TurnDetection(
        threshold=0.7, prefix_ms=100, silence_ms=400
    )
    asked = hearing(second, transcription={"model": "whisper-1", "language": "de"})
    asked = hearing(asked, transcription={"prompt": "Parley"})
    assert asked.shown["audio"]["input"]["transcription"] == {
        "model": "whisper-1",
        "language": "de",
        "prompt": "Parley",
    }
    assert (asked.meaning.language, asked.meaning.transcription_prompt) == ("de", "Parley")


def test_null_switches_off_what_can_be_off() -> None:
    on = hearing(fresh(), transcription={}, turn_detection={"type": "server_vad"})
    on = apply(on, max_output_tokens=7)
    assert on.transcribes
    off = hearing(on, transcription=None, turn_detection=None)
    off = apply(off, instructions=None, max_output_tokens=None)
    assert not off.transcribes
    assert off.meaning.turn_detection is None
    assert off.meaning.max_output_tokens is None
    assert off.meaning.instructions == off.shown["instructions"] == ""
    assert off.shown["max_output_tokens"] == "inf"


def test_turn_detection_comes_back_with_the_server_s_own_defaults() -> None:
    off = hearing(fresh(), turn_detection=None)
    on = hearing(off, turn_detection={"type": "server_vad"})
    assert on.meaning.turn_detection == TurnDetection(silence_ms=400)


def test_null_leaves_alone_what_cannot_be_off() -> None:
    changed = speaking(fresh(), voice="ash", speed=1.2, format={"type": "audio/pcmu"})
    same = speaking(changed, voice=None, speed=None, format=None)
    same = apply(same, output_modalities=None, model=None, audio=None)
    assert same.shown == changed.shown


def test_an_empty_instruction_is_one() -> None:
    assert apply(fresh(), instructions="").meaning.instructions == ""


@pytest.mark.parametrize(
    ("name", "rate"), [("audio/pcm", 24_000), ("audio/pcmu", 8_000), ("audio/pcma", 8_000)]
)
def test_formats_are_chosen_by_type(name: str, rate: int) -> None:
    changed = hearing(speaking(fresh(), format={"type": name}), format={"type": name})
    assert changed.input_format.rate == changed.meaning.output_rate == rate
    assert changed.shown["audio"]["output"]["format"]["type"] == name


def test_a_voice_of_the_client_s_own_is_shown_by_its_id() -> None:
    changed = speaking(fresh(), voice={"id": "mine"})
    assert changed.shown["audio"]["output"]["voice"] == changed.meaning.voice == "mine"


def test_text_instead_of_speech() -> None:
    assert apply(fresh(), output_modalities=["text"]).meaning.modality == "text"


def test_what_asks_for_nothing_is_no_error() -> None:
    same = apply(
        fresh(),
        tools=[],
        tool_choice="auto",
        tracing=None,
        truncation="auto",
        include=None,
        audio={"input": {"noise_reduction": None}},
    )
    assert same.shown == fresh().shown


def turns(**fields: Any) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": {"type": "server_vad", **fields}}}}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"output_modalities": ["text", "audio"]}, "output_modalities"),
        ({"output_modalities": []}, "output_modalities"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 4097}, "max_output_tokens"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tracing": "auto"}, "tracing"),
        ({"truncation": "disabled"}, "truncation"),
        ({"audio": {"output": {"speed": 0.1}}}, "audio.output.speed"),
        ({"audio": {"output": {"speed": 1e308}}}, "audio.output.speed"),
        (
            {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
            "audio.input.noise_reduction",
        ),
        (
            {"audio": {"input": {"transcription": {"keywords": ["Parley"]}}}},
            "audio.input.transcription.keywords",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
            "audio.input.turn_detection.type",
        ),
        (turns(threshold=1.5), "audio.input.turn_detection.threshold"),
        (turns(prefix_padding_ms=-1), "audio.input.turn_detection.prefix_padding_ms"),
        (turns(silence_duration_ms=10**30), "audio.input.turn_detection.silence_duration_ms"),
        (turns(idle_timeout_ms=6000), "audio.input.turn_detection.idle_timeout_ms"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_nothing_is_applied(
    session: dict[str, Any], param: str
) -> None:
    before = fresh()
    with pytest.raises(ProtocolError) as caught:
        apply(before, instructions="Be brief.", **session)
    assert caught.value.param == f"session.{param}"
    assert caught.value.message.startswith(f"session.{param}")
    assert before.shown == fresh().shown


def test_a_number_too_large_for_a_float_is_refused() -> None:
    text = '{"type": "session.update", "session": {"audio": {"output": {"speed": 1e400}}}}'
    request = parse(text)
    assert isinstance(request, SessionUpdate)
    with pytest.raises(ProtocolError, match=r"speed must be from 0.25 to 1.5"):
        fresh().updated(request.session.model_dump(exclude_unset=True))


_DETECTION = st.fixed_dictionaries(
    {"type": st.just("server_vad")},
    optional={
        "threshold": st.floats(0, 1) | st.none(),
        "silence_duration_ms": st.integers(0, 10_000) | st.none(),
        "create_response": st.booleans(),
    },
)
_SESSION = st.fixed_dictionaries(
    {},
    optional={
        "instructions": st.text() | st.none(),
        "max_output_tokens": st.integers(1, 4096) | st.just("inf") | st.none(),
        "output_modalities": st.sampled_from([["audio"], ["text"], None]),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {},
                    optional={
                        "turn_detection": _DETECTION | st.none(),
                        "transcription": st.sampled_from([{}, {"language": "fr"}, None]),
                    },
                ),
                "output": st.fixed_dictionaries(
                    {}, optional={"speed": st.floats(0.25, 1.5), "voice": st.text()}
                ),
            },
        ),
    },
)


@given(updates=st.lists(_SESSION, max_size=5))
def test_any_valid_updates_leave_a_configuration_that_can_be_shown_and_used(
    updates: list[dict[str, Any]],
) -> None:
    configuration = fresh()
    for update in updates:
        configuration = apply(configuration, **update)
    shown = {"id": "sess_1", **configuration.shown}
    RealtimeSessionCreateResponse.model_validate(shown, extra="forbid")
    detection = configuration.meaning.turn_detection
    assert detection is None or detection.silence_ms in range(10_001)
