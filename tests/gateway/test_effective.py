"""A session's configuration: what an update changes, and what it must not."""

import copy
import json
from typing import Any

import pytest
from openai.types.realtime import (
    RealtimeSessionCreateResponse,
)

from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from shared.messages import (
    NamedTool,
    SessionConfig,
    Tool,
    Tooling,
    Truncation,
    TurnDetection,
)
from tests.gateway.configuring import HANG_UP, LOOK_UP, SETTINGS, apply, fresh, hearing, speaking


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
        include=[],
        prompt=None,
        reasoning=None,
        audio={"input": {"noise_reduction": None}},
    )
    assert same.shown == fresh().shown


# --- the user's turns ---


def test_semantic_detection_brings_its_own_defaults_and_is_updated_in_place() -> None:
    first = hearing(fresh(), turn_detection={"type": "semantic_vad", "create_response": False})
    assert first.shown["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": False,
        "interrupt_response": True,
    }
    assert first.meaning.turn_detection == TurnDetection(
        eagerness="medium", create_response=False, interrupt_response=True
    )
    second = hearing(first, turn_detection={"type": "semantic_vad", "eagerness": "high"})
    detection = second.meaning.turn_detection
    assert detection == TurnDetection(eagerness="high", create_response=False)
    back = hearing(second, turn_detection={"type": "server_vad"})
    assert back.shown == fresh().shown


def test_the_idle_timeout_can_be_set_and_taken_back() -> None:
    on = hearing(fresh(), turn_detection={"type": "server_vad", "idle_timeout_ms": 5000})
    assert on.meaning.turn_detection is not None
    assert on.meaning.turn_detection.idle_timeout_ms == 5000
    kept = hearing(on, turn_detection={"type": "server_vad", "threshold": 0.4})
    assert kept.shown["audio"]["input"]["turn_detection"]["idle_timeout_ms"] == 5000
    off = hearing(on, turn_detection={"type": "server_vad", "idle_timeout_ms": None})
    assert off.shown == fresh().shown


def test_what_the_client_says_of_its_words_reaches_the_recogniser() -> None:
    asked = hearing(
        fresh(),
        transcription={
            "model": "gpt-4o-mini-transcribe",
            "language": "en-US",
            "prompt": "A call.",
            "keywords": ["Parley", "Beckett"],
        },
    )
    assert asked.meaning.language == "en"
    assert asked.meaning.transcription_prompt == "A call.\nParley, Beckett"
    cleared = hearing(asked, transcription={"language": "", "prompt": None, "keywords": []})
    # Some clients cannot read keys that they did not send.
    assert cleared.shown["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe"}
    assert (cleared.meaning.language, cleared.meaning.transcription_prompt) == (None, None)


def test_noise_reduction_always_says_for_which_microphone() -> None:
    near = hearing(fresh(), noise_reduction={"strength": 0.5})
    assert near.noise_reduction == {"type": "near_field", "strength": 0.5}
    far = hearing(near, noise_reduction={"type": "far_field"})
    assert far.noise_reduction == {"type": "far_field", "strength": 0.5}
    assert hearing(far, noise_reduction=None).noise_reduction is None


# --- functions ---


def test_functions_and_their_use_reach_the_model() -> None:
    schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
    changed = apply(
        fresh(),
        tools=[{**LOOK_UP, "parameters": schema}, HANG_UP],
        tool_choice={"type": "function", "name": "look_up"},
        parallel_tool_calls=False,
    )
    no_parameters = '{"type": "object", "properties": {}}'
    assert changed.meaning.tooling == Tooling(
        tools=[
            Tool(name="look_up", description="d", parameters=json.dumps(schema)),
            Tool(name="hang_up", parameters=no_parameters),
        ],
        choice=NamedTool("look_up"),
        parallel=False,
    )
    assert changed.shown["tool_choice"] == {"type": "function", "name": "look_up"}
    assert changed.shown["parallel_tool_calls"] is False
    kept = apply(changed, instructions="Be brief.")
    assert kept.meaning.tooling == changed.meaning.tooling


@pytest.mark.parametrize("nothing", [[], None])
def test_functions_can_be_taken_back(nothing: Any) -> None:
    before = apply(fresh(), tools=[HANG_UP], tool_choice="required")
    assert before.meaning.tooling.choice == "required"
    assert apply(before, tools=nothing, tool_choice=None).shown == fresh().shown


def test_a_choice_holds_what_it_names() -> None:
    named = {"type": "function", "name": "hang_up"}
    before = apply(fresh(), tools=[HANG_UP], tool_choice=named)
    with pytest.raises(ProtocolError, match=r"session\.tool_choice") as caught:
        apply(before, tools=[LOOK_UP])
    assert caught.value.param == "session.tool_choice.name"


# --- the rest ---


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("auto", Truncation()),
        (None, Truncation()),
        ("disabled", Truncation(retain=None)),
        ({"type": "retention_ratio", "retention_ratio": 0.8}, Truncation(retain=0.8)),
        (
            {
                "type": "retention_ratio",
                "retention_ratio": 0.5,
                "token_limits": {"post_instructions": 900},
            },
            Truncation(retain=0.5, tokens=900),
        ),
    ],
)
def test_how_a_long_conversation_is_cut(given: Any, meant: Truncation) -> None:
    changed = apply(apply(fresh(), truncation="disabled"), truncation=given)
    assert changed.meaning.truncation == meant
    assert changed.shown["truncation"] == (given or "auto")


@pytest.mark.parametrize("given", ["auto", {"workflow_name": "w", "metadata": {"a": "b"}}, None])
def test_traces_have_the_name_that_the_client_gives_them(given: Any) -> None:
    changed = apply(fresh(), tracing=given)
    assert changed.tracing == changed.shown["tracing"] == given


def test_a_voice_that_was_heard_stays() -> None:
    before = speaking(fresh(), voice="ash")
    update = {"audio": {"output": {"voice": "ash", "speed": 1.1}}}
    assert before.updated(update, voice_locked=True).meaning.speed == 1.1
    with pytest.raises(ProtocolError, match="must stay 'ash'") as caught:
        before.updated({"audio": {"output": {"voice": "coral"}}}, voice_locked=True)
    assert (caught.value.code, caught.value.param) == (
        "cannot_update_voice",
        "session.audio.output.voice",
    )


def test_openai_s_names_stand_for_what_is_here() -> None:
    changed = speaking(apply(fresh(), model="gpt-realtime"), voice="ash")
    assert (changed.shown["model"], changed.shown["audio"]["output"]["voice"]) == (
        "gpt-realtime",
        "ash",
    )
    assert changed.meaning.voice == "joe"


def test_a_configuration_is_restored_from_what_it_means() -> None:
    before = apply(fresh(), tools=[HANG_UP], tracing="auto", parallel_tool_calls=False)
    after = Configuration.restored(SETTINGS, before.meaning)
    assert after.meaning == before.meaning
    assert apply(after, tools=[]).shown == apply(before, tools=[]).shown
