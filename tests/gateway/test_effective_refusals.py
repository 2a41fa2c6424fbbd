"""Sessions that only transcribe, and what no session can have."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import (
    RealtimeSessionCreateResponse,
    RealtimeTranscriptionSessionCreateResponse,
    SessionUpdatedEvent,
)

from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from shared.messages import (
    SessionConfig,
    TurnDetection,
)
from tests.gateway.configuring import HANG_UP, LOOK_UP, SETTINGS, apply, fresh

# --- sessions that only transcribe ---


def transcribing() -> Configuration:
    return Configuration.transcription(SETTINGS)


def test_a_session_that_only_transcribes_gives_no_answers() -> None:
    configuration = transcribing()
    assert configuration.transcribes
    assert not configuration.answers
    assert configuration.meaning == SessionConfig(
        responds=False,
        turn_detection=TurnDetection(silence_ms=400),
        protocol=json.dumps(configuration.shown),
    )
    RealtimeTranscriptionSessionCreateResponse.model_validate(
        {"id": "sess_1", **configuration.shown}, extra="forbid"
    )


def test_a_session_that_only_transcribes_is_updated_and_restored() -> None:
    changed = apply(
        transcribing(),
        type="transcription",
        audio={
            "input": {
                "format": {"type": "audio/pcma"},
                "transcription": {"model": "whisper-1", "language": "de"},
                "turn_detection": {"type": "server_vad", "threshold": 0.2},
                "noise_reduction": {"type": "far_field"},
            }
        },
    )
    meaning = changed.meaning
    assert (meaning.responds, meaning.language) == (False, "de")
    assert meaning.turn_detection == TurnDetection(threshold=0.2, silence_ms=400)
    assert changed.input_format.rate == 8_000
    restored = Configuration.restored(SETTINGS, meaning)
    assert (restored.shown, restored.meaning) == (changed.shown, meaning)
    semantic = apply(
        restored,
        type="transcription",
        audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}},
    )
    assert semantic.meaning.turn_detection == TurnDetection(eagerness="low")


def listening(**fields: Any) -> dict[str, Any]:
    return {"type": "transcription", "audio": {"input": fields}}


def detecting(**fields: Any) -> dict[str, Any]:
    return listening(turn_detection={"type": "server_vad", **fields})


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "realtime"}, "type"),
        ({"instructions": "Be brief."}, "instructions"),
        ({"type": "realtime", "audio": {"output": {"voice": "ash"}}}, "type"),
        ({"audio": {"output": {"voice": "ash"}}}, "audio.output"),
        (
            {"type": "transcription", "include": ["item.input_audio_transcription.logprobs"]},
            "include",
        ),
        (listening(transcription=None), "audio.input.transcription"),
        (listening(transcription={"delay": "low"}), "audio.input.transcription.delay"),
        (detecting(create_response=True), "audio.input.turn_detection.create_response"),
        (detecting(interrupt_response=True), "audio.input.turn_detection.interrupt_response"),
        (detecting(idle_timeout_ms=6000), "audio.input.turn_detection.idle_timeout_ms"),
    ],
)
def test_what_a_session_that_only_transcribes_has_not_is_refused(
    session: dict[str, Any], param: str
) -> None:
    with pytest.raises(ProtocolError, match=f"^session.{param} ") as caught:
        apply(transcribing(), **session)
    assert caught.value.param == f"session.{param}"


def test_a_session_that_talks_stays_one() -> None:
    with pytest.raises(ProtocolError, match="must be 'realtime'") as caught:
        apply(fresh(), type="transcription")
    assert caught.value.param == "session.type"


# --- refusals ---


def turns(**fields: Any) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": {"type": "server_vad", **fields}}}}


def ratio(retained: float, **fields: Any) -> dict[str, Any]:
    truncation = {"type": "retention_ratio", "retention_ratio": retained, **fields}
    return {"truncation": truncation}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"output_modalities": ["text", "audio"]}, "output_modalities"),
        ({"output_modalities": []}, "output_modalities"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 4097}, "max_output_tokens"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools.0.name"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        (
            {"tools": [HANG_UP], "tool_choice": {"type": "mcp", "server_label": "s"}},
            "tool_choice.type",
        ),
        ({"tracing": {"workflow_name": "w" * 5_000}}, "tracing"),
        ({"instructions": "w" * 32_769}, "instructions"),
        (ratio(1.1), "truncation.retention_ratio"),
        (
            ratio(0.5, token_limits={"post_instructions": 0}),
            "truncation.token_limits.post_instructions",
        ),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"include": ["item.input_audio_transcription.logprobs"]}, "include"),
        ({"model": "claude"}, "model"),
        ({"audio": {"output": {"speed": 0.1}}}, "audio.output.speed"),
        ({"audio": {"output": {"speed": 1e308}}}, "audio.output.speed"),
        (
            {"audio": {"input": {"noise_reduction": {"strength": 1.5}}}},
            "audio.input.noise_reduction.strength",
        ),
        (
            {"audio": {"input": {"transcription": {"languages": ["en", "de"]}}}},
            "audio.input.transcription.languages",
        ),
        (
            {"audio": {"input": {"transcription": {"keywords": ["w" * 5_000]}}}},
            "audio.input.transcription.keywords",
        ),
        (
            {"audio": {"input": {"transcription": {"language": "en; DROP"}}}},
            "audio.input.transcription.language",
        ),
        (
            {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe-diarize"}}}},
            "audio.input.transcription.model",
        ),
        (turns(threshold=1.5), "audio.input.turn_detection.threshold"),
        (turns(prefix_padding_ms=-1), "audio.input.turn_detection.prefix_padding_ms"),
        (turns(silence_duration_ms=10**30), "audio.input.turn_detection.silence_duration_ms"),
        (turns(idle_timeout_ms=4_999), "audio.input.turn_detection.idle_timeout_ms"),
        (turns(idle_timeout_ms=30_001), "audio.input.turn_detection.idle_timeout_ms"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_nothing_is_applied(
    session: dict[str, Any], param: str
) -> None:
    before = fresh()
    with pytest.raises(ProtocolError) as caught:
        apply(before, **{"instructions": "Be brief.", **session})
    assert caught.value.param == f"session.{param}"
    assert caught.value.message.startswith(f"session.{param}")
    assert before.shown == fresh().shown


@pytest.mark.parametrize("speed", [float("inf"), float("nan")])
def test_what_is_no_number_in_range_is_refused(speed: float) -> None:
    with pytest.raises(ProtocolError, match=r"speed must be from 0.25 to 1.5"):
        fresh().updated({"audio": {"output": {"speed": speed}}})


_DETECTION = st.fixed_dictionaries(
    {"type": st.just("server_vad")},
    optional={
        "threshold": st.floats(0, 1) | st.none(),
        "silence_duration_ms": st.integers(0, 10_000) | st.none(),
        "idle_timeout_ms": st.integers(5_000, 30_000) | st.none(),
        "create_response": st.booleans(),
    },
) | st.fixed_dictionaries(
    {"type": st.just("semantic_vad")},
    optional={"eagerness": st.sampled_from(["low", "medium", "high", "auto", None])},
)
_INPUT = st.fixed_dictionaries(
    {},
    optional={
        "turn_detection": _DETECTION | st.none(),
        "transcription": st.sampled_from([{}, {"language": "fr"}, {"language": ""}, None]),
        "noise_reduction": st.sampled_from([{}, {"type": "far_field"}, None]),
    },
)
_OUTPUT = st.fixed_dictionaries(
    {}, optional={"speed": st.floats(0.25, 1.5), "voice": st.sampled_from(["ash", "joe", ""])}
)
_SESSION = st.fixed_dictionaries(
    {},
    optional={
        "instructions": st.text() | st.none(),
        "max_output_tokens": st.integers(1, 4096) | st.just("inf") | st.none(),
        "output_modalities": st.sampled_from([["audio"], ["text"], None]),
        "tools": st.sampled_from([[HANG_UP], [HANG_UP, LOOK_UP], None]),
        "tool_choice": st.sampled_from(["auto", "none", None]),
        "tracing": st.sampled_from(["auto", {}, None]),
        "audio": st.fixed_dictionaries({}, optional={"input": _INPUT, "output": _OUTPUT}),
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
    event = {"type": "session.updated", "event_id": "e", "session": shown}
    SessionUpdatedEvent.model_validate(event)
    restored = Configuration.restored(SETTINGS, configuration.meaning)
    assert restored.meaning == configuration.meaning
