"""Systems to talk to, with the engines and models that a fresh Parley has."""

import json
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from shared import api_keys
from tests.support.up import Up, running
from tests.web.browser import SOON_MS

KEY = api_keys.fresh()
KEYS = json.dumps([{"name": "tests", "sha256": api_keys.digest(KEY)}])

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
    settings = {"PARLEY_LLM_ENGINE": "instant", "PARLEY_API_KEYS": KEYS}
    with running(tmp_path_factory.mktemp("web") / "data", "cpu", **settings) as up:
        yield up


def page_of(up: Up) -> str:
    """The address of its page."""
    return f"http://127.0.0.1:{up.port}/"


def ephemeral_key(up: Up) -> str:
    request = urllib.request.Request(
        f"{page_of(up)}v1/realtime/client_secrets",
        data=b"{}",
        headers={"Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request) as response:
        key: str = json.load(response)["value"]
    return key
