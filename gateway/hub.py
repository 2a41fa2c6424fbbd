"""What one gateway process holds: its connections, and the sessions it serves."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator

from redis.exceptions import RedisError

from gateway.follower import Follower
from gateway.session import Session
from shared.broker import UNREACHABLE, Pipe, connect
from shared.heartbeat import living
from shared.ids import new_id
from shared.keys import Keyspace
from shared.lanes import LaneWriter
from shared.messages import SessionConfig
from shared.scripts import SESSION_TTL_S
from shared.scripts import sessions as scripts
from shared.settings import STAGES, Settings

# How long a client, or a load balancer that asks, is kept waiting for a broker that is away.
_PATIENCE_S = 5.0

log = logging.getLogger(__name__)


class Unavailable(Exception):
    """No session can be opened now."""


class Hub:
    """Opens sessions and keeps them alive. Use `hub(settings)`."""

    def __init__(self, settings: Settings, pipe: Pipe, follower: Follower, gateway: str) -> None:
        self.settings = settings
        self._gateway = gateway
        self._keyspace = Keyspace(settings.shards, settings.lanes)
        self._pipe = pipe
        self._lanes = LaneWriter(pipe, self._keyspace)
        self._follower = follower
        self._sessions: dict[str, Session] = {}

    @contextlib.asynccontextmanager
    async def session(
        self, config: SessionConfig, *, lead_s: float | None
    ) -> AsyncIterator[Session]:
        """A new session, closed at the end of the block. `lead_s` as in `Session`.

        Raises:
            Unavailable: the broker is out of reach.
        """
        session = await self._open(config, lead_s)
        session_id = session.keys.session_id
        log.info("session %s opened", session_id)
        try:
            yield session
        finally:
            self._follower.unfollow(session_id)
            await asyncio.shield(self._close(session))

    async def _open(self, config: SessionConfig, lead_s: float | None) -> Session:
        keys = self._keyspace.session(new_id("sess"))
        token = secrets.token_urlsafe(24)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._follower.listening.wait()
                await scripts.attach(
                    self._pipe, keys, gateway=self._gateway, token=token, config=config
                )
        except (TimeoutError, *UNREACHABLE) as error:
            raise Unavailable("the broker is out of reach") from error
        session = Session(
            keys,
            config,
            pipe=self._pipe,
            lanes=self._lanes,
            messages=self._follower.follow(keys),
            lead_s=lead_s,
        )
        self._sessions[keys.session_id] = session
        session.command("open")
        return session

    async def _close(self, session: Session) -> None:
        session_id = session.keys.session_id
        try:
            await session.close()
            log.info("session %s closed", session_id)
        except UNREACHABLE as error:
            log.warning("session %s is left to expire: %s", session_id, error)
        finally:
            del self._sessions[session_id]

    async def missing(self) -> list[str]:
        """What is missing to serve a turn: stages without a live worker whose model is loaded,
        or "broker"."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                ready = {worker.stage for worker in await living(self._pipe) if worker.ready}
        except (TimeoutError, *UNREACHABLE):
            return ["broker"]
        return [stage for stage in STAGES if stage not in ready]

    async def keep_alive(self) -> None:
        """Renews the keys of the sessions served here, until cancelled."""
        while True:
            await asyncio.sleep(SESSION_TTL_S / 4)
            sessions = list(self._sessions.values())
            try:
                await asyncio.gather(*(scripts.touch(self._pipe, s.keys) for s in sessions))
            except RedisError as error:
                log.warning("the sessions' keys were not renewed: %s", error)

    async def flush(self) -> None:
        """Waits until the broker has the last audio and commands of the sessions served here."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._lanes.flush()
        except (TimeoutError, *UNREACHABLE):
            log.warning("the last audio did not reach the broker")


@contextlib.asynccontextmanager
async def hub(settings: Settings) -> AsyncIterator[Hub]:
    """This process's hub, connected."""
    gateway = new_id("gw")
    keyspace = Keyspace(settings.shards, settings.lanes)
    async with (
        contextlib.aclosing(connect(settings.redis_url, blocking=True)) as subscriber,
        Pipe(connect(settings.redis_url)) as pipe,
    ):
        follower = Follower(pipe, subscriber, keyspace, gateway)
        opened = Hub(settings, pipe, follower, gateway)
        async with asyncio.TaskGroup() as tasks:
            keepers = [
                tasks.create_task(follower.run(), name="follower"),
                tasks.create_task(opened.keep_alive(), name="session keys"),
            ]
            yield opened
            await opened.flush()
            for keeper in keepers:
                keeper.cancel()
