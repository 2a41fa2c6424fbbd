"""OpenAI's agents SDKs, for Python and for JavaScript, each with a tool and its own settings."""

import pytest

from tests.clients.expected import (
    assert_interrupted,
    assert_spoken,
    assert_text,
    assert_tool,
)
from tests.clients.running import Seen, Server, javascript, python

# A turn of the user and the answer, five times; between the third two, the call of the tool.
HISTORY = [
    *("message user", "message assistant") * 2,
    *("message user", "function_call", "message assistant"),
    *("message user", "message assistant") * 2,
]


@pytest.fixture(scope="module", params=["python", "javascript"])
def seen(request: pytest.FixtureRequest, parley: Server) -> Seen:
    if request.param == "python":
        return python("light", "openai_agents.py", parley)
    return javascript("agents.mjs", parley)


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
    assert seen["interrupted"]["retrieved"]


def test_it_keeps_the_history_and_meets_no_error(seen: Seen) -> None:
    assert seen["history"] == HISTORY
    assert seen["problems"] == []
