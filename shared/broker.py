"""Connections to the broker, and the one pipeline through which a process writes.

A command sent alone costs several times what it costs in a pipeline, so all commands of a
process go through a `Pipe`: while one pipeline is in flight the next accumulates. An idle
process adds no wait, a busy one batches by itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as BrokerConnectionError
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as BrokerTimeoutError

from shared.scripts import SCRIPTS

Argument = str | bytes | int | float
Result = Any

UNREACHABLE = (BrokerConnectionError, BrokerTimeoutError)

# Above every BLOCK, so that a reader that waits is not taken for one whose broker is gone.
BLOCK_MS = 5_000
_READER_TIMEOUT_S = BLOCK_MS / 1000 + 5
_COMMAND_TIMEOUT_S = 10
_PIPELINE_COMMANDS = 512

_DIGESTS = {name: sha1(source.encode()).hexdigest() for name, source in SCRIPTS.items()}


def connect(url: str, *, blocking: bool = False) -> Redis:
    """A client for the broker at `url`; `blocking` gives one whose reads may wait `BLOCK_MS`.

    Commands that find the broker gone are tried again with jittered back-off for about half a
    minute. A write may so be made twice; those of work in progress do nothing the second time.
    """
    return Redis.from_url(
        url,
        socket_timeout=_READER_TIMEOUT_S if blocking else _COMMAND_TIMEOUT_S,
        socket_connect_timeout=_COMMAND_TIMEOUT_S,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries=40),
        retry_on_error=list(UNREACHABLE),
        protocol=2,
    )


class Pipe:
    """Coalesces the commands of one process into pipelines.

    Use as an async context manager; leaving it sends what is waiting.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        # Replies as the broker sends them: one that a parser stumbles over would take the
        # whole pipeline down with it.
        redis.response_callbacks.clear()
        self._waiting: list[tuple[Sequence[Argument], asyncio.Future[Result]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Pipe":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._flusher is not None:
            await self._flusher
        await self.redis.aclose()

    async def command(self, *arguments: Argument) -> Result:
        """Runs one command in the next pipeline and returns its reply.

        Raises:
            redis.RedisError: the broker refused the command or stayed out of reach.
        """
        reply: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((arguments, reply))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="broker pipe")
        return await reply

    async def script(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Result:
        """Runs one of the scripts of `shared/scripts`."""
        call = (len(keys), *keys, *arguments)
        try:
            return await self.command("EVALSHA", _DIGESTS[name], *call)
        except NoScriptError:
            # a broker that has just started knows no scripts
            return await self.command("EVAL", SCRIPTS[name], *call)

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:_PIPELINE_COMMANDS]
                del self._waiting[:_PIPELINE_COMMANDS]
                await self._send(batch)
        finally:
            self._flusher = None

    async def _send(self, batch: list[tuple[Sequence[Argument], asyncio.Future[Result]]]) -> None:
        pipeline = self.redis.pipeline(transaction=False)
        for arguments, _ in batch:
            pipeline.execute_command(*arguments)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except Exception as error:
            # whoever waits for a reply gets it
            replies = [error] * len(batch)
        except asyncio.CancelledError:
            for _, future in batch + self._waiting:
                future.cancel()
            self._waiting.clear()
            raise
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():  # whoever asked was cancelled meanwhile
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)


Fields = dict[bytes, bytes]


def fields_of(flat: Sequence[bytes]) -> Fields:
    """A stream entry's fields, from the flat list in which a script returns them."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def stream_entries(reply: Any) -> list[tuple[str, list[tuple[str, Fields]]]]:
    """What XREAD or XREADGROUP returned: for each stream its entries as (id, fields)."""
    if not reply:
        return []
    return [
        (name.decode(), [(entry.decode(), _fields(fields)) for entry, fields in entries if fields])
        for name, entries in reply
    ]


def _fields(fields: Sequence[bytes] | Fields) -> Fields:
    """A pipe's replies are as the broker sends them, a reader's come as a mapping."""
    return dict(fields) if isinstance(fields, Mapping) else fields_of(fields)
