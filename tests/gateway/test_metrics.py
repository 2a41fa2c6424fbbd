"""Who may read a gateway's metrics, and what a conversation leaves in them."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import numpy as np
import pytest
from prometheus_client import REGISTRY

from gateway.playout import Playout
from tests.gateway.access import ADA, bearer, connected, keyed, refused
from tests.gateway.running import Gateway, gateway, instant
from tests.support.scraping import scrape, value

RATE = 1000


@pytest.fixture
async def locked(redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway(keyed(redis_url)) as running:
        yield running


@pytest.fixture
async def opened(redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway(instant(redis_url)) as running:
        yield running


async def status(served: Gateway, key: str | None = None, **headers: str) -> int:
    """How a request for the metrics is answered."""

    def ask() -> int:
        given = headers | (bearer(key) if key else {})
        request = urllib.request.Request(f"http://{served.host}/metrics", headers=given)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    return await asyncio.to_thread(ask)


def now(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_without_keys_this_machine_reads_them(opened: Gateway) -> None:
    samples = await asyncio.to_thread(scrape, f"http://{opened.host}/metrics")
    assert value(samples, "parley_build_info") == 1
    assert await status(opened, Host="parley.example") == 403
    assert await status(opened, Origin="https://elsewhere.example") == 403


async def test_with_keys_a_key_reads_them(locked: Gateway) -> None:
    assert await status(locked) == 401
    assert await status(locked, "parley_wrong") == 401
    assert await status(locked, ADA) == 200


async def test_an_ephemeral_key_is_for_sessions_alone(locked: Gateway) -> None:
    def mint() -> str:
        url = f"http://{locked.host}/v1/realtime/client_secrets"
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", bearer(ADA))) as answer:
            key: str = json.load(answer)["value"]
            return key

    assert await status(locked, await asyncio.to_thread(mint)) == 403


async def test_prometheus_gets_the_format_that_it_asks_for(opened: Gateway) -> None:
    def ask() -> tuple[str, str]:
        accepts = {"Accept": "application/openmetrics-text; version=1.0.0"}
        request = urllib.request.Request(f"http://{opened.host}/metrics", headers=accepts)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    kind, text = await asyncio.to_thread(ask)
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_sessions_are_counted_and_so_are_those_refused(locked: Gateway) -> None:
    names = ("parley_sessions_open", "parley_sessions_opened_total")
    before = [now(name) for name in names]
    turned_away = now("parley_sessions_refused_total", reason="invalid_api_key")
    async with connected(locked, bearer(ADA)):
        assert [now(name) for name in names] == [before[0] + 1, before[1] + 1]
    await refused(locked)
    assert now("parley_sessions_refused_total", reason="invalid_api_key") == turned_away + 1


def test_a_client_that_was_kept_waiting_ran_dry_once() -> None:
    playout = Playout(RATE, lead_s=1.0)
    playout.add(0, 0, np.zeros(500, np.int16))
    assert playout.take(0.0)
    assert playout.take(2.0) == []  # nothing there to be late
    assert playout.underruns == 0
    playout.add(0, 500, np.zeros(500, np.int16))
    assert playout.take(2.0)
    assert playout.underruns == 1
    playout.add(0, 1000, np.zeros(500, np.int16), final=True)
    assert playout.take(2.1)
    assert playout.underruns == 1


def test_a_client_that_sets_the_pace_ran_dry_once() -> None:
    playout = Playout(RATE)
    assert len(playout.pull(100)) == 0  # it has not begun
    assert playout.underruns == 0
    playout.add(0, 0, np.zeros(150, np.int16))
    assert len(playout.pull(100)) == 100
    for _ in range(3):
        assert len(playout.pull(100)) == 0
    assert playout.underruns == 1
    playout.add(0, 150, np.zeros(20, np.int16), final=True)
    playout.end(1)
    assert len(playout.pull(100)) == 70  # short, because it is the end
    assert playout.underruns == 1
