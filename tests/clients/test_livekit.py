"""livekit's `openai.realtime.RealtimeModel`."""

import pytest

from tests.clients.expected import arguments, assert_aloud, assert_spoken, assert_text
from tests.clients.running import Seen, Server, python

pytestmark = pytest.mark.heavy_client


@pytest.fixture(scope="module")
def seen(parley: Server) -> Seen:
    return python("heavy", "livekit_realtime.py", parley)


def test_it_has_a_spoken_turn(seen: Seen) -> None:
    assert_spoken(seen["spoken"])


def test_it_has_a_text_turn(seen: Seen) -> None:
    assert_text(seen["text"])


def test_it_calls_a_tool(seen: Seen) -> None:
    assert "sunny, 21 degrees" in seen["tool"]["answer"]
    assert seen["tool"]["name"] == "get_weather"
    assert arguments(seen["tool"]["arguments"]).keys() == {"city"}


def test_it_interrupts_and_truncates_to_what_it_played(seen: Seen) -> None:
    interrupted = seen["interrupted"]
    assert interrupted["truncated_ms"] == interrupted["asked_ms"]
    assert interrupted["after"]["answer"].startswith("You said: utterance of ")
    assert_aloud(interrupted["after"])


def test_its_conversation_is_the_servers_and_it_meets_no_error(seen: Seen) -> None:
    turn = ["message", "message"]
    called = ["message", "function_call", "function_call_output", "message"]
    assert seen["history"] == [*turn * 2, *called, *turn * 2]
    assert seen["problems"] == []


def test_it_takes_its_conversation_along_when_it_reconnects(seen: Seen) -> None:
    assert seen["reconnected"]["again"]
    assert seen["reconnected"]["answer"].startswith("You said: How do you do?")
    assert seen["reconnected"]["problems"] == []


def test_it_has_a_turn_whose_end_it_tells(seen: Seen) -> None:
    assert_spoken(seen["push_to_talk"])
    assert seen["push_to_talk"]["forgotten"]
    assert seen["push_to_talk"]["problems"] == []


def test_its_agent_uses_its_tool(seen: Seen) -> None:
    assert seen["agent"] == [
        *("function_call", "function_call_output", "message"),
        "The function said: sunny, 21 degrees.",
    ]
