"""Systems to talk to, with the engines and models that a fresh Parley has."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from shared import api_keys
from tests.support.up import Up, running
from tests.web.browser import SOON_MS

KEY = api_keys.fresh()
_KEYS = json.dumps([{"name": "tests", "sha256": api_keys.digest(KEY)}])

expect.set_options(timeout=SOON_MS)


@pytest.fixture(scope="module")
def parley(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A whole Parley."""
    with running(tmp_path_factory.mktemp("web") / "data", "cpu") as up:
        yield up


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that asks for a key, and whose language model repeats what it is told: a long question
    makes a long answer."""
    settings = {"PARLEY_LLM_ENGINE": "instant", "PARLEY_API_KEYS": _KEYS}
    with running(tmp_path_factory.mktemp("web") / "data", "cpu", **settings) as up:
        yield up


def page_of(up: Up) -> str:
    """The address of its page."""
    return f"http://127.0.0.1:{up.port}/"
