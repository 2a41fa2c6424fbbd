"""What every client must have seen, whatever it calls it."""

import json
from typing import Any

from tests.clients.running import Seen

# What the `instant` engines answer.
_KNOWS_NO_MORE = "That is all I know about it."
# They speak 20 ms for each character, and at least this much must have come.
_CHARACTER_S = 0.02


def assert_spoken(turn: Seen) -> None:
    """The user spoke, was understood and answered aloud."""
    assert turn["heard"].startswith("utterance of ")
    assert turn["answer"] == f"You said: {turn['heard']}. {_KNOWS_NO_MORE}"
    assert_aloud(turn)


def assert_text(turn: Seen, asked: str = "How do you do?") -> None:
    """The user wrote and was answered aloud."""
    assert turn["answer"] == f"You said: {asked}. {_KNOWS_NO_MORE}"
    assert_aloud(turn)


def assert_tool(turn: Seen) -> None:
    """The user was told what a tool said."""
    assert "sunny, 21 degrees" in turn["answer"]
    assert_aloud(turn)


def assert_interrupted(turn: Seen) -> None:
    """The user spoke while an answer was heard: it ended, and another one came."""
    assert turn["status"] == "cancelled"
    assert turn["reason"] == "turn_detected"
    assert turn["truncated_ms"] >= 0
    after = turn["after"]
    assert after["answer"].startswith("You said: utterance of ")
    assert_aloud(after)


def assert_aloud(turn: Seen) -> None:
    """All of the answer was heard."""
    assert turn.get("status", "completed") == "completed"
    assert turn["audio_s"] >= _CHARACTER_S * len(turn["answer"].rstrip()) * 0.95


def arguments(call: Any) -> dict[str, Any]:
    """What a tool was called with, however the client tells it."""
    found: dict[str, Any] = json.loads(call) if isinstance(call, str) else call
    return found
