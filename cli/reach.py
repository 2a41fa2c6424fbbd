"""Reaching the broker that a command means."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cli.console import fail, load_settings
from cli.runtime import running, settings_of
from shared.broker import Pipe, answer, connect
from shared.keys import Keyspace
from shared.logs import printable
from shared.settings import Settings

Port = Annotated[
    int | None,
    typer.Option(help="The `parley up` that is meant; else PARLEY_REDIS_URL, else PARLEY_PORT."),
]
T = TypeVar("T")


def with_broker(work: Callable[[Pipe, Keyspace], Awaitable[T]], port: int | None) -> T:
    """Does `work` on the broker that `port` or the settings name; ends the command if it fails."""
    config = named(port)
    try:
        return asyncio.run(_connected(config, work))
    except (RedisError, OSError) as error:
        reason = printable(str(error)) or "it takes too long"
        fail(f"the broker gives no answer ({reason}): check PARLEY_REDIS_URL")


def named(port: int | None) -> Settings:
    """The settings of the system that `port` or this machine's settings name."""
    config = load_settings(port=port)
    if port is not None or "redis_url" not in config.model_fields_set:
        return settings_of(running(config.port))
    return config


def client(config: Settings) -> Redis:
    """A client of the broker that the settings name; ends the command if that is no address."""
    try:
        return connect(config.redis_url)
    except ValueError:
        fail("PARLEY_REDIS_URL must look like redis://:password@host:6379/0")


async def _connected(config: Settings, work: Callable[[Pipe, Keyspace], Awaitable[T]]) -> T:
    redis = client(config)
    await answer(redis.ping())  # a pipe would wait for a broker that is away
    async with Pipe(redis) as pipe:
        return await work(pipe, Keyspace(config.shards, config.lanes))


async def broker_ms(pipe: Pipe) -> int:
    """The broker's clock, in ms since 1970, by which everything in it is dated."""
    seconds, micros = await pipe.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000
