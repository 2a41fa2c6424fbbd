"""What one gateway process holds: its connections, and the sessions it serves."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator

from gateway.follower import Follower
from gateway.session import Session
from shared.broker import Pipe, connect
from shared.heartbeat import living
from shared.ids import new_id
from shared.keys import Keyspace
from shared.lanes import LaneWriter
from shared.messages import SessionConfig
from shared.scripts import SESSION_TTL_S
from shared.scripts import sessions as scripts
from shared.settings import STAGES, Settings

log = logging.getLogger(__name__)


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
        """A new session, closed at the end of the block.

        `lead_s` bounds how far ahead of the client's playing its audio is sent; None leaves the
        pace to the client.
        """
        keys = self._keyspace.session(new_id("sess"))
        await self._follower.listening.wait()
        await scripts.attach(
            self._pipe,
            keys,
            gateway=self._gateway,
            token=secrets.token_urlsafe(24),
            config=config,
        )
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
        log.info("session %s opened", keys.session_id)
        try:
            yield session
        finally:
            del self._sessions[keys.session_id]
            self._follower.unfollow(keys.session_id)
            await asyncio.shield(session.close())
            log.info("session %s closed", keys.session_id)

    async def missing_stages(self) -> list[str]:
        """Stages without a live worker whose model is loaded."""
        ready = {worker.stage for worker in await living(self._pipe) if worker.ready}
        return [stage for stage in STAGES if stage not in ready]

    async def keep_alive(self) -> None:
        """Renews the keys of the sessions served here, until cancelled."""
        while True:
            await asyncio.sleep(SESSION_TTL_S / 4)
            sessions = list(self._sessions.values())
            await asyncio.gather(*(scripts.touch(self._pipe, s.keys) for s in sessions))


@contextlib.asynccontextmanager
async def hub(settings: Settings) -> AsyncIterator[Hub]:
    """This process's hub, connected."""
    gateway = new_id("gw")
    keyspace = Keyspace(settings.shards, settings.lanes)
    subscriber = connect(settings.redis_url, blocking=True)
    async with Pipe(connect(settings.redis_url)) as pipe:
        follower = Follower(pipe, subscriber, keyspace, gateway)
        opened = Hub(settings, pipe, follower, gateway)
        async with asyncio.TaskGroup() as tasks:
            keepers = [
                tasks.create_task(follower.run(), name="follower"),
                tasks.create_task(opened.keep_alive(), name="session keys"),
            ]
            yield opened
            for keeper in keepers:
                keeper.cancel()
    await subscriber.aclose()
