"""Real brokers for every test that needs one."""

import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from cli.broker import Broker, bundled_server
from shared.broker import Pipe, connect

# How fast inputs are made says something of the machine, not of what is tested.
settings.register_profile("parley", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("parley")

# Streams that their writers trim; every other key must expire by itself.
_TRIMMED = re.compile(rb"parley:\{\d+\}:(stt|llm|tts|dead|lane:\d+)")


def _servers() -> dict[str, Path]:
    servers = {"valkey": bundled_server()[0]}
    if found := shutil.which("redis-server"):
        servers["redis"] = Path(found)
    return servers


@pytest.fixture(scope="session", params=sorted(_servers()))
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker process: each test runs on the embedded Valkey and on Debian's Redis."""
    with (
        tempfile.TemporaryDirectory(prefix="parley-") as folder,
        Broker(_servers()[request.param], Path(folder)) as running,
    ):
        yield running


@pytest.fixture
def redis_url(broker: Broker) -> Iterator[str]:
    """The address of an empty broker; the test fails if it leaves a key without a bound."""
    with redis.Redis.from_url(broker.url) as client:
        client.flushall()
        yield broker.url
        assert unbounded(client) == []


def unbounded(client: redis.Redis) -> list[bytes]:
    """Keys that nothing trims and nothing expires."""
    return [
        key
        for key in client.scan_iter(count=1000)
        if not _TRIMMED.fullmatch(key) and client.ttl(key) < 0
    ]


@pytest.fixture
async def pipe(redis_url: str) -> AsyncIterator[Pipe]:
    """A process's pipe to the broker."""
    async with Pipe(connect(redis_url)) as opened:
        yield opened
