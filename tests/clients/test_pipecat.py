"""pipecat's OpenAI Realtime service, in a pipeline."""

import pytest

from tests.clients.expected import arguments, assert_aloud, assert_spoken, assert_tool
from tests.clients.running import Seen, Server, python

pytestmark = pytest.mark.heavy_client


@pytest.fixture(scope="module")
def seen(parley: Server) -> Seen:
    return python("heavy", "pipecat_pipeline.py", parley)


def test_it_has_a_spoken_turn(seen: Seen) -> None:
    assert_spoken(seen["spoken"])


def test_it_begins_with_its_context_and_calls_a_tool(seen: Seen) -> None:
    assert_tool(seen["tool"])
    assert arguments(seen["tool"]["arguments"]).keys() == {"city"}


def test_it_interrupts_and_goes_on(seen: Seen) -> None:
    after = seen["interrupted"]["after"]
    assert after["answer"] == f"You said: {after['heard']}. That is all I know about it."
    assert_aloud(after)


def test_it_meets_no_error(seen: Seen) -> None:
    # any error event ends pipecat's connection
    assert seen["problems"] == []
