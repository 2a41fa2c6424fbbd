"""Connections to the broker, and the one pipeline through which a process writes.

A command sent alone costs several times what it costs in a pipeline, so all commands of a
process go through a `Pipe`: while one pipeline is in flight the next accumulates. An idle
process adds no wait, a busy one batches by itself.

No process may end because its broker is away: `persist` is how each of them waits for it.
"""

import asyncio
import contextlib
import logging
import re
import textwrap
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from hashlib import sha1
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as BrokerConnectionError
from redis.exceptions import TimeoutError as BrokerTimeoutError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from shared.metrics.process import BROKER_PIPELINE, BROKER_RETRIES, BROKER_ROUND_TRIP
from shared.scripts import SCRIPTS

Argument = str | bytes | int | float
Result = Any
T = TypeVar("T")

# A master that was demoted refuses to be written to: the broker is another server now.
UNREACHABLE = (BrokerConnectionError, BrokerTimeoutError, ReadOnlyError)

# What a broker says while it takes no writes, though it may later.
_REFUSALS = re.compile(r"(?:^|-)(?:MISCONF|NOREPLICAS|MASTERDOWN|BUSY|UNBLOCKED) ")
# What uvloop says, in a RuntimeError, of a connection that breaks between two steps of a command.
_BROKEN = "the handler is closed"
# Redis 6.2 reports what went wrong in a script inside another message.
_WRAPPED = {" -OOM ": OutOfMemoryError, " -READONLY ": ReadOnlyError}

BLOCK_MS = 2_000
# How long a broker may be silent before it is asked on another connection. Far above every BLOCK,
# so that a reader is not taken for one whose broker is gone.
_TIMEOUT_S = 8
_SENTINEL_TIMEOUT_S = 2
_SENTINEL_PORT = 26379
_PIPELINE_COMMANDS = 512
_PATIENCE_S = 30
_PARTING_S = 1
_BACK_OFF = wait_random_exponential(multiplier=0.05, max=1)
_COMPLAIN_EVERY_S = 10

_DIGESTS = {name: sha1(source.encode()).hexdigest() for name, source in SCRIPTS.items()}

log = logging.getLogger(__name__)


def connect(url: str) -> Redis:
    """A client for the broker at `url`, to be used through `Pipe`, `answer` or `published`.

    It tries each command once: trying again is for `Pipe` and `persist`, since a client of
    sentinels asks for the master only when it connects anew. It waits for a reply as long as it
    takes, as its own time limit is `asyncio.wait_for`: in Python 3.11, who is cancelled just when
    a command has been sent would not notice, and never end.

    Raises:
        ValueError: the address cannot be understood.
    """
    options: dict[str, Any] = {
        "socket_timeout": None,
        "socket_connect_timeout": _TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if urlsplit(url).scheme == "redis+sentinel":
        return _master(url, options)
    return Redis.from_url(url, **options)


class _Master(Redis):
    """A client of whichever server the sentinels call master."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        await self.connection_pool.sentinel_manager.aclose()  # type: ignore[attr-defined]


def _master(url: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    hosts = [host.partition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
    if not service or not all(name for name, _, _ in hosts):
        raise ValueError(
            "the broker's address must be redis+sentinel://[user:password@]host:port,…/service[/db]"
        )
    given = {"username": parts.username, "password": parts.password}
    credentials = {name: unquote(value) for name, value in given.items() if value}
    timeouts = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), _SENTINEL_TIMEOUT_S)
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [(name, int(port or _SENTINEL_PORT)) for name, _, port in hosts],
        sentinel_kwargs={**options, **credentials, **timeouts},
    )
    options = {**options, **credentials, "db": int(database or 0)}
    master: Redis = sentinels.master_for(service, redis_class=_Master, **options)
    return master


def _passes(error: BaseException) -> bool:
    """Whether an error goes away when the broker is well again."""
    if isinstance(error.__cause__ or error, AuthenticationError):
        return False
    if isinstance(error, (*UNREACHABLE, OutOfMemoryError)):
        return True
    if isinstance(error, RuntimeError):
        return str(error).endswith(_BROKEN)
    return isinstance(error, ResponseError) and _REFUSALS.search(str(error)) is not None


def _passes_soon(error: BaseException) -> bool:
    """Whether it is worth while to let somebody wait for it."""
    return _passes(error) and not isinstance(error, OutOfMemoryError)


async def answer(reply: Awaitable[T]) -> T:
    """The reply to a command that waits `BLOCK_MS` at most.

    Raises:
        redis.TimeoutError: the broker has been silent for much longer.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await reply
    except TimeoutError as error:
        raise BrokerTimeoutError("the broker has fallen silent") from error


class _Complaints:
    """Says that the broker is away now and then, not once for everybody who waits for it."""

    def __init__(self) -> None:
        self._quiet_until_s = 0.0

    def __call__(self, attempt: RetryCallState) -> None:
        BROKER_RETRIES.inc()
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s and attempt.outcome is not None:
            problem = textwrap.shorten(str(attempt.outcome.exception()), 200)
            log.warning("waiting for the broker: %s", problem)
            self._quiet_until_s = now_s + _COMPLAIN_EVERY_S


_complain = _Complaints()


async def persist(
    work: Callable[[], Awaitable[T]], *, after: Callable[[], None] = lambda: None
) -> T:
    """Runs `work` again, with jittered back-off, while the broker is away or takes no writes.

    `after` is called before each further attempt. Every other error is raised.
    """
    try:
        # the first attempt alone, as to prepare for others costs more than a write does
        return await work()
    except Exception as error:
        if not _passes(error):
            raise
    return await AsyncRetrying(
        retry=retry_if_exception(_passes),
        wait=_BACK_OFF,
        before=lambda _: after(),
        before_sleep=_complain,
    )(_run, work)


async def _insist(work: Callable[[], Awaitable[T]]) -> T:
    """As `persist`, for half a minute and not for memory."""
    return await AsyncRetrying(
        retry=retry_if_exception(_passes_soon),
        wait=_BACK_OFF,
        stop=stop_after_delay(_PATIENCE_S),
        before_sleep=_complain,
        reraise=True,
    )(_run, work)


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    """To tenacity, only a coroutine function is something to await."""
    return await work()


class Pipe:
    """Coalesces the commands of one process into pipelines.

    While the broker is away its commands are tried again, for half a minute: somebody waits for
    the answer. Those of a `patient` pipe are tried for as long as it takes, also while the broker
    has no memory. A write may so be made twice; those of work in progress do nothing the second
    time.

    Use as an async context manager; leaving it gives the commands that wait a moment to go out.
    """

    def __init__(self, redis: Redis, *, patient: bool = False) -> None:
        self.redis = redis
        self._patient = patient
        # Replies as the broker sends them: one that a parser stumbles over would take the
        # whole pipeline down with it.
        redis.response_callbacks.clear()
        self._waiting: list[tuple[Sequence[Argument], asyncio.Future[Result]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Pipe":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._flusher is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PARTING_S):
                    await self._flusher
        await self.redis.aclose()

    async def command(self, *arguments: Argument) -> Result:
        """Runs one command in the next pipeline and returns its reply.

        Raises:
            redis.RedisError: the broker refused the command or stayed out of reach.
        """
        try:
            return await self._reply(arguments)
        except (RedisError, RuntimeError) as error:
            if not (_passes(error) if self._patient else _passes_soon(error)):
                raise
        again = persist if self._patient else _insist
        return await again(lambda: self._reply(arguments))

    async def _reply(self, arguments: Sequence[Argument]) -> Result:
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
        BROKER_PIPELINE.observe(len(batch))
        try:
            with BROKER_ROUND_TRIP.time():
                replies = await answer(pipeline.execute(raise_on_error=False))
        except Exception as error:
            # whoever waits for a reply gets it
            replies = [error] * len(batch)
        except asyncio.CancelledError:
            for _, future in batch + self._waiting:
                future.cancel()
            self._waiting.clear()
            raise
        replies = [_unwrapped(reply) for reply in replies]
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():  # whoever asked was cancelled meanwhile
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            # the next connection may lead to the new master
            await self.redis.connection_pool.disconnect()


def _unwrapped(reply: Result) -> Result:
    if isinstance(reply, ResponseError):
        for code, error in _WRAPPED.items():
            if code in str(reply):
                return error(str(reply))
    return reply


async def published(redis: Redis, channels: Iterable[str]) -> AsyncGenerator[dict[str, Any], None]:
    """The messages of some channels as redis-py gives them, also those of type "subscribe".

    Raises:
        redis.ConnectionError: the broker is away, or has been silent when asked.
    """
    async with redis.pubsub() as subscription:
        await answer(subscription.subscribe(*channels))
        asked = False
        while True:
            message = await subscription.get_message(timeout=BLOCK_MS / 1000)
            if message is not None:
                asked = False
                if message["type"] != "pong":
                    yield message
            elif asked:
                # a connection to a machine that vanished looks like one on which nothing is said
                raise BrokerConnectionError("the broker has fallen silent")
            else:
                await answer(subscription.ping())
                asked = True


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
