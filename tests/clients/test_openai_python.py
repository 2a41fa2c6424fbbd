"""The `openai` package for Python, asynchronous and blocking."""

import json

import pytest

from tests.clients.expected import (
    assert_interrupted,
    assert_spoken,
    assert_text,
    assert_tool,
)
from tests.clients.running import Seen, Server, python


@pytest.fixture(scope="module")
def seen(parley: Server) -> Seen:
    return python("light", "openai_async.py", parley)


@pytest.fixture(scope="module")
def blocking(parley: Server) -> Seen:
    return python("light", "openai_sync.py", parley)


def test_it_has_a_spoken_turn(seen: Seen) -> None:
    assert seen["first"] == "session.created"
    assert_spoken(seen["spoken"])


def test_it_has_a_text_turn(seen: Seen) -> None:
    assert_text(seen["text"])
    assert seen["text"]["tokens"] > 0


def test_it_calls_a_tool(seen: Seen) -> None:
    assert_tool(seen["tool"])
    assert seen["tool"]["name"] == "get_weather"
    assert json.loads(seen["tool"]["arguments"]).keys() == {"city"}


def test_it_interrupts(seen: Seen) -> None:
    assert_interrupted(seen["interrupted"])
    assert seen["interrupted"]["speech_started"]
    assert seen["interrupted"]["truncated_ms"] == 100


def test_it_is_answered_in_writing(seen: Seen) -> None:
    written = seen["written"]
    assert written["answer"] == "You said: And in writing?. That is all I know about it."
    assert written["audio_s"] == 0
    assert not [kind for kind in written["kinds"] if "audio" in kind]


def test_the_blocking_client_talks_with_a_key_for_a_browser(blocking: Seen) -> None:
    assert blocking["secret"] == "ek_"
    assert blocking["spoken"]["instructions"] == "Answer briefly."
    assert "input_audio_buffer.speech_started" not in blocking["spoken"]["committed"]
    assert_spoken(blocking["spoken"])
    assert_text(blocking["text"])


def test_the_blocking_client_has_a_session_that_only_transcribes(blocking: Seen) -> None:
    assert blocking["transcribed"]["type"] == "transcription"
    assert blocking["transcribed"]["text"].startswith("utterance of ")


def test_the_blocking_client_lists_models_and_gets_in_with_a_key_alone(blocking: Seen) -> None:
    assert blocking["models"]
    assert blocking["refused"] == 401
