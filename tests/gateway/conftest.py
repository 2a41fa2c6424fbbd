"""The gateway's parts on a real broker."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from gateway.follower import Follower
from shared.broker import Pipe, connect
from tests.gateway.talk import GATEWAY, Talk, following, talking
from tests.stages import KEYSPACE


@pytest.fixture
async def follower(pipe: Pipe, redis_url: str) -> AsyncIterator[Follower]:
    """A gateway's follower at work."""
    async with (
        aclosing(connect(redis_url, blocking=True)) as subscriber,
        following(Follower(pipe, subscriber, KEYSPACE, GATEWAY)) as running,
    ):
        yield running


@pytest.fixture
async def talk(pipe: Pipe, follower: Follower) -> AsyncIterator[Talk]:
    """A session that speaks at 1000 samples a second, one second ahead of the client."""
    async with talking(pipe, follower) as opened:
        yield opened
