"""OpenAI's agents SDKs, for Python and for JavaScript, each with a tool and its own settings."""

import pytest

from tests.clients.expected import (
    assert_aloud,
    assert_interrupted,
    assert_spoken,
    assert_text,
    assert_tool,
)
from tests.clients.running import Seen, Server, javascript, python

TURN = ("message user", "message assistant")
CALL = ("message user", "function_call", "message assistant")


@pytest.fixture(scope="module")
def in_python(parley: Server) -> Seen:
    return python("light", "openai_agents.py", parley)


@pytest.fixture(scope="module")
def in_javascript(parley: Server) -> Seen:
    return javascript("agents.mjs", parley)


@pytest.fixture(params=["in_python", "in_javascript"])
def seen(request: pytest.FixtureRequest) -> Seen:
    found: Seen = request.getfixturevalue(request.param)
    return found


def test_it_has_a_spoken_turn(seen: Seen) -> None:
    assert_spoken(seen["spoken"])


def test_it_has_a_text_turn(seen: Seen) -> None:
    assert_text(seen["text"])


def test_it_runs_its_tool_once(seen: Seen) -> None:
    assert_tool(seen["tool"])
    assert len(seen["called"]) == 1


def test_it_is_interrupted_and_truncates(seen: Seen) -> None:
    assert_interrupted(seen["interrupted"])
    assert "audio_interrupted" in seen["kinds"]


def test_it_hands_off_to_another_agent(seen: Seen) -> None:
    handed_off = seen["handed_off"]
    assert handed_off["to"] == "french"
    assert handed_off["instructions"] == "Answer in French."
    assert handed_off["answer"].startswith("The function said: ")
    assert_aloud(handed_off)


def test_it_meets_no_error(seen: Seen) -> None:
    assert seen["problems"] == []


def test_in_python_it_truncates_an_answer_that_was_not_played_to_its_end(in_python: Seen) -> None:
    assert in_python["interrupted"]["truncated_ms"] == 100
    late = in_python["interrupted_late"]
    assert late["truncated_ms"] == 100
    assert late["after"]["answer"].startswith("You said: utterance of ")
    assert_aloud(late["after"])


def test_in_python_it_keeps_the_history(in_python: Seen) -> None:
    assert in_python["history"] == [*TURN * 2, *CALL, *TURN * 3, *CALL]


def test_in_javascript_it_keeps_the_history_and_rewrites_it(in_javascript: Seen) -> None:
    assert in_javascript["rewritten"] == {
        "deleted": True,
        "added": True,
        "kept": True,
        "text": "How are you?",
    }
    assert in_javascript["history"] == [*TURN * 2, *CALL, *TURN * 2, *CALL]
