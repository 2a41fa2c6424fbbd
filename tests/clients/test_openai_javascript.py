"""The `openai` package for JavaScript, which takes nothing but wss."""

import pytest

from tests.clients.expected import (
    arguments,
    assert_interrupted,
    assert_spoken,
    assert_text,
    assert_tool,
)
from tests.clients.running import Seen, Server, javascript


@pytest.fixture(scope="module")
def seen(parley_tls: Server) -> Seen:
    return javascript("openai.mjs", parley_tls)


@pytest.fixture(scope="module")
def in_browser(parley_tls: Server) -> Seen:
    return javascript("browser.mjs", parley_tls)


def test_it_has_a_spoken_turn(seen: Seen) -> None:
    assert seen["first"] == "session.created"
    assert_spoken(seen["spoken"])


def test_it_has_a_text_turn(seen: Seen) -> None:
    assert_text(seen["text"])


def test_it_calls_a_tool(seen: Seen) -> None:
    assert_tool(seen["tool"])
    assert seen["tool"]["name"] == "get_weather"
    assert arguments(seen["tool"]["arguments"]).keys() == {"city"}


def test_it_interrupts(seen: Seen) -> None:
    assert_interrupted(seen["interrupted"])
    assert seen["interrupted"]["truncated_ms"] == 100


def test_it_closes_in_good_order(seen: Seen) -> None:
    assert seen["closed"] == 1000


def test_a_browsers_websocket_gets_in_with_a_key_made_for_it(in_browser: Seen) -> None:
    assert in_browser["secret"] == "ek_"
    assert in_browser["instructions"] == "Answer briefly."
    assert_text(in_browser)
    assert in_browser["closed"] == 1000
