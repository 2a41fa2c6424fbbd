"""The gateway and its parts on a real broker."""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from gateway import hub
from gateway.follower import Follower
from shared.broker import Pipe, connect
from shared.scripts import jobs, lanes, sessions
from tests.gateway.running import Gateway, errors, gateway, instant, stages
from tests.gateway.talk import GATEWAY, Talk, following, talking
from tests.stages import KEYSPACE, until


@pytest.fixture
async def follower(pipe: Pipe, redis_url: str) -> AsyncIterator[Follower]:
    """A gateway's follower at work."""
    async with (
        aclosing(connect(redis_url)) as subscriber,
        following(Follower(pipe, subscriber, KEYSPACE, GATEWAY)) as running,
    ):
        yield running


@pytest.fixture
async def talk(pipe: Pipe, follower: Follower) -> AsyncIterator[Talk]:
    """A session that speaks at 1000 samples a second, one second ahead of the client."""
    async with talking(pipe, follower) as opened:
        yield opened


@pytest.fixture
async def served(
    redis_url: str, pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Gateway]:
    """A whole server. The test fails if a session leaves anything, or a client's doing an error."""
    settings = instant(redis_url)
    with caplog.at_level(logging.INFO):
        async with stages(settings), gateway(settings) as running:
            yield running
            await until(lambda: running.idle)
            await until(lambda: nothing_left(pipe))
    assert errors(caplog) == []


@pytest.fixture
def sessions_that_wait_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a session is soon gone; a gateway renews those that it serves in good time,
    or they would lose their items in the middle of a conversation that pauses."""
    for module in (sessions, jobs, lanes):
        monkeypatch.setattr(module, "SESSION_TTL_S", 3)
    monkeypatch.setattr(hub, "_RENEW_S", 1.0)


async def nothing_left(pipe: Pipe) -> bool:
    keys = [key.decode() for key in await pipe.command("KEYS", "*sess_*")]
    return keys + [key.decode() for key in await pipe.command("KEYS", "*response*")] == []
