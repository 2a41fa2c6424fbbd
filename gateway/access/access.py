"""Who gets in: keys, ephemeral keys, pages, and the limits of each key."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import OutOfMemoryError, RedisError
from starlette.requests import HTTPConnection

from gateway.access.denied import Denied, Exceeded, too_many, unauthorized
from gateway.access.grant import Grant
from gateway.access.presented import check_page, credentials
from gateway.access.tally import DayUsed, Tally
from gateway.access.usage import LEASE_S, Usage
from shared import api_keys
from shared.broker import UNREACHABLE, Pipe, persist
from shared.keys import AccessKeys, secret
from shared.scripts import access as scripts
from shared.settings import Settings

_EPHEMERAL = "ek_"
_MOST_SECRETS = 1000  # of one key at a time
_SAVE_S = 1.0
_RENEW_S = LEASE_S / 4
# How long a client is kept waiting for a broker that is away.
_PATIENCE_S = 5.0

log = logging.getLogger(__name__)


class Client(NamedTuple):
    """Who asks: the key's use (None where no key is asked for), and what an ephemeral key says."""

    usage: Usage | None
    ephemeral: bool = False
    session: dict[str, Any] | None = None


class _Secret(msgspec.Struct, frozen=True):
    """What the broker keeps of an ephemeral key: the name of the key that made it, and the
    configuration of the sessions it opens, as `session.update` would have it."""

    key: str
    session: dict[str, Any]


class Access:
    """The gateway's door. `run` must be running meanwhile."""

    def __init__(self, settings: Settings, pipe: Pipe) -> None:
        self._settings = settings
        self._pipe = pipe
        self._usages = {key.name: Usage(key, pipe) for key in settings.api_keys}
        self._tallies = {name: Tally(name, pipe) for name in self._usages or ("",)}
        self._grants: set[Grant] = set()

    @contextlib.asynccontextmanager
    async def admit(self, connection: HTTPConnection, *, resumes: bool) -> AsyncIterator[Grant]:
        """Lets a client of the protocols in, until the end of the block.

        Whoever `resumes` shows a session's ticket, which says enough once it is found to be good.

        Raises:
            Denied: it may not come in, or not now.
        """
        if resumes:
            check_page(connection, self._settings)
            grant = Grant(self._pipe, self._usages, self._tallies, None)
        else:
            client = await self.identify(connection)
            grant = Grant(self._pipe, self._usages, self._tallies, client.usage, client.session)
        async with patience():
            await grant.enter()
        self._grants.add(grant)
        try:
            yield grant
        finally:
            self._grants.discard(grant)
            await asyncio.shield(self._leave(grant))

    async def identify(self, connection: HTTPConnection) -> Client:
        """Who asks.

        Raises:
            Denied: nobody who may.
        """
        check_page(connection, self._settings)
        presented = [*credentials(connection)]
        for key in presented:
            if key.startswith(_EPHEMERAL):
                return await self._ephemeral(key)
            if found := api_keys.find(self._settings.api_keys, key):
                return Client(self._usages[found.name])
        if not self._usages:
            return Client(None)
        if presented:
            raise unauthorized("the API key is not valid")
        raise unauthorized(
            "an API key is needed: send it as `Authorization: Bearer KEY` or, from a browser,"
            " as the WebSocket subprotocol openai-insecure-api-key.KEY beside `realtime`"
        )

    async def request(self, connection: HTTPConnection) -> Client:
        """Who makes an HTTP request, which counts against its key's rate.

        Raises:
            Denied: nobody who may, or not now.
        """
        client = await self.identify(connection)
        if client.usage is not None:
            try:
                async with patience():
                    await client.usage.request()
            except Exceeded as exceeded:
                raise too_many(str(exceeded), 1) from exceeded
        return client

    async def used(self, client: Client, days: int) -> list[DayUsed]:
        """What the clients of a key have used on the last days, the latest first.

        Raises:
            Denied: the client's own key is ephemeral.
        """
        if client.ephemeral:
            raise Denied(403, "an ephemeral key is told of no usage", "invalid_api_key")
        tally = self._tallies[client.usage.key.name if client.usage else ""]
        async with patience():
            await tally.save()
            return await tally.days(days)

    async def mint(self, client: Client, session: dict[str, Any], lasts_s: int) -> str:
        """A new ephemeral key of `client`, which opens sessions that begin with `session`.

        Raises:
            Denied: the client's own key is ephemeral, or has too many of them.
        """
        if client.ephemeral:
            raise Denied(403, "an ephemeral key makes no further keys", "invalid_api_key")
        name = client.usage.key.name if client.usage else ""
        key = _EPHEMERAL + secrets.token_urlsafe(32)
        known = api_keys.digest(key)
        async with patience():
            leases = AccessKeys(name).secrets
            if not await scripts.take_lease(
                self._pipe, leases, known, most=_MOST_SECRETS, lasts_ms=lasts_s * 1000
            ):
                raise too_many(f"{_MOST_SECRETS} ephemeral keys are valid already", lasts_s)
            value = msgspec.json.encode(_Secret(name, session))
            await self._pipe.command("SET", secret(known), value, "EX", lasts_s)
        return key

    async def _ephemeral(self, key: str) -> Client:
        async with patience():
            value = await self._pipe.command("GET", secret(api_keys.digest(key)))
        if value is None:
            raise unauthorized("the ephemeral key is not valid, or not any more")
        known = msgspec.json.decode(value, type=_Secret)
        usage = self._usages.get(known.key)
        if usage is None and self._usages:
            raise unauthorized("the ephemeral key's own API key is not valid any more")
        return Client(usage, True, known.session)

    async def _leave(self, grant: Grant) -> None:
        try:
            await grant.leave()
        except RedisError as error:
            log.warning("the lease of a session is left to expire: %s", error)

    async def run(self) -> None:
        """Keeps the broker's counts, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(_SAVE_S, self.save), name="counts")
            tasks.create_task(_every(_RENEW_S, self._renew), name="leases")

    async def save(self) -> None:
        """Has the broker count what was used."""
        await asyncio.gather(
            *(usage.save() for usage in self._usages.values()),
            *(tally.save() for tally in self._tallies.values()),
        )

    async def _renew(self) -> None:
        leases = [usage.renew() for usage in self._usages.values()]
        await asyncio.gather(*leases, *(grant.renew() for grant in self._grants))


@contextlib.asynccontextmanager
async def patience() -> AsyncIterator[None]:
    """Waits for the broker as long as a client that is not in yet may be kept waiting.

    Raises:
        Denied: the broker is away, or full.
    """
    try:
        async with asyncio.timeout(_PATIENCE_S):
            yield
    except (TimeoutError, OutOfMemoryError, *UNREACHABLE) as error:
        raise Denied(
            503, "the broker is out of reach", "server_error", {"Retry-After": "1"}
        ) from error


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await persist(work)
