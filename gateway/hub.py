"""What one gateway process holds: its connections, and the sessions it serves."""

import asyncio
import contextlib
import hmac
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from redis.exceptions import OutOfMemoryError, RedisError

from gateway.access import Access
from gateway.admission import Admission, Unavailable
from gateway.cursor import Cursor
from gateway.follower import Follower
from gateway.foretelling import foretell
from gateway.playout import PlayoutError
from gateway.restore import restore
from gateway.session import Session
from gateway.status import Status
from shared.audio import SAMPLE_RATE, AudioError
from shared.broker import UNREACHABLE, Pipe, connect, persist
from shared.footprint import Meter
from shared.gateways import keep_signing_in, sign_off
from shared.heartbeat import Offers, living, offered
from shared.ids import is_id, new_id
from shared.keys import Keyspace, SessionKeys
from shared.lanes import LaneWriter
from shared.log_levels import follow
from shared.logs import concerning
from shared.messages import ListenerState, SessionConfig, decode
from shared.metrics.gateway import OPENED, RESUMED, SESSIONS
from shared.profiles import STAGES
from shared.scripts import SESSION_TTL_S
from shared.scripts import sessions as scripts
from shared.scripts.sessions import Attachment
from shared.settings import Settings

RESUME_WITHIN_S = 60
"""How long a session waits for a client whose connection broke."""

# The rest of a session's life is for the last renewal to have been a while ago.
_RENEW_S = SESSION_TTL_S - RESUME_WITHIN_S
# How long a client, or a load balancer that asks, is kept waiting for a broker that is away.
_PATIENCE_S = 5.0
# How long a gateway that ends tries to say so.
_PARTING_S = 1.0
# How often what workers say of themselves is read.
_LOAD_S = 1.0
# What the broker must have left for the sessions that are open before a new one is opened.
_FULL = 0.9
# Sent again before what was heard, for a resampler that begins anew to have settled: up to 112 ms.
_OVERLAP = SAMPLE_RATE // 8

log = logging.getLogger(__name__)


class Refused(Exception):
    """A session cannot be resumed: it is gone, or the token is not its own."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a client must know to go on: the number of its last request that was carried out, the
    millisecond of the session from which audio is needed again, the conversation's items. Of what
    keeps its place in the audio, `settled` is the last request that the VAD worker has heard of."""

    requests: int
    audio_ms: int
    items: list[str]
    settled: int


class Hub:
    """Opens sessions, resumes them and keeps them alive. Use `hub(settings)`."""

    def __init__(self, settings: Settings, pipe: Pipe, follower: Follower, gateway: str) -> None:
        self.settings = settings
        self.access = Access(settings, pipe)
        self._admission = Admission(settings.queue_limit_ms)
        self._meter = Meter(on_gpu=False)
        self._gateway = gateway
        self._keyspace = Keyspace(settings.shards, settings.lanes)
        self._pipe = pipe
        self._lanes = LaneWriter(pipe, self._keyspace)
        self._follower = follower
        self._sessions: set[Session] = set()

    async def open(self, config: SessionConfig, lead_s: float | None) -> tuple[Session, str]:
        """A new session, and the token with which it can be resumed. `lead_s` as in `Session`.

        Raises:
            Unavailable: the broker is out of reach, or has no room for more sessions.
            Overloaded: the sessions that are open need the workers for themselves.
        """
        hold = Attachment(self._keyspace.session(new_id("sess")), new_id("att"))
        token = secrets.token_urlsafe(24)
        async with self._patience():
            await self._check_room()
            self._admission.admit(hold.keys.session_id, len(self._sessions))
            await scripts.attach(
                self._pipe, hold, gateway=self._gateway, token=token, config=config
            )
            await foretell(self._pipe, hold.keys, config)
        session = Session(
            hold,
            config,
            pipe=self._pipe,
            lanes=self._lanes,
            inbox=self._follower.follow(hold.keys),
            lead_s=lead_s,
        )
        self._sessions.add(session)
        SESSIONS.set(len(self._sessions))
        OPENED.inc()
        session.open()
        with concerning(session_id=hold.keys.session_id):
            log.info("session %s opened", hold.keys.session_id)
        return session, token

    async def resume(
        self, session_id: str, token: str, cursor: Cursor, lead_s: float | None
    ) -> tuple[Session, Resumed]:
        """An existing session, from where its client stands.

        Raises:
            Refused: there is no such session, or the client lags too far behind.
            PermissionError: the token is not the session's.
            Unavailable: the broker is out of reach.
        """
        if not is_id("sess", session_id):
            raise Refused("the session has ended")
        hold = Attachment(self._keyspace.session(session_id), new_id("att"))
        async with self._patience():
            await self._attach(hold, token, cursor)
            state = await self._state(hold.keys)
            backlog = await self._follower.output(hold.keys, cursor.entry)
        try:
            restored = restore(backlog, cursor, lead_s or 0.0)
        except (PlayoutError, AudioError) as error:
            raise Refused(f"the session cannot go on: {error}") from error
        session = Session(
            hold,
            state.config,
            pipe=self._pipe,
            lanes=self._lanes,
            inbox=self._follower.follow(hold.keys, cursor.entry),
            lead_s=lead_s,
            restored=restored,
        )
        self._sessions.add(session)
        SESSIONS.set(len(self._sessions))
        RESUMED.inc()
        with concerning(session_id=session_id):
            log.info("session %s resumed", session_id)
        requests = max(state.requests, cursor.requests)
        return session, Resumed(requests, state.audio_ms, state.items, state.settled)

    async def release(self, session: Session, *, over: bool) -> None:
        """Lets go of a session: it ends now if it is over, else it waits to be resumed."""
        self._follower.unfollow(session.inbox)
        session_id = session.keys.session_id
        self._admission.left(session_id)
        try:
            if over:
                await session.close()
                log.info("session %s closed", session_id)
            else:
                await session.detach()
                log.info("session %s waits for its client", session_id)
        except RedisError as error:
            log.warning("session %s is left to expire: %s", session_id, error)
        finally:
            self._sessions.discard(session)
            SESSIONS.set(len(self._sessions))

    async def _attach(self, hold: Attachment, token: str, cursor: Cursor) -> None:
        known, trimmed = await self._pipe.command("HMGET", hold.keys.state, "token", "trimmed")
        if known is None:
            raise Refused("the session has ended")
        if not hmac.compare_digest(known, scripts.digest(token).encode()):
            raise PermissionError("the token is not this session's")
        if cursor.order < Cursor(trimmed.decode()).order:
            raise Refused("the client lags too far behind to go on with the session")
        status = await scripts.attach(
            self._pipe, hold, gateway=self._gateway, token=token, config=None
        )
        if status != "ok":
            raise Refused("the session has ended")

    async def _state(self, keys: SessionKeys) -> "_State":
        lane = self._keyspace.lane(keys.session_id)
        (config, requests), order, heard = await asyncio.gather(
            self._pipe.command("HMGET", keys.state, "config", "requests"),
            self._pipe.command("LRANGE", keys.order, 0, -1),
            self._pipe.command("HGET", lane.checkpoint, keys.session_id),
        )
        if config is None:
            raise Refused("the session has ended")
        at = settled = 0
        if heard:
            state = decode(heard, ListenerState)
            # Not from before a commit, where the resampler began anew.
            at, settled = max(state.heard - _OVERLAP, state.kept), state.number
        return _State(
            decode(config, SessionConfig),
            int(requests),
            at * 1000 // SAMPLE_RATE,
            [item.decode() for item in order],
            settled,
        )

    def check_load(self) -> None:
        """Whether a session could be opened, as far as the workers' load goes.

        Raises:
            Overloaded: not now.
        """
        self._admission.check(len(self._sessions))

    async def watch_load(self) -> None:
        """Keeps up with what the workers and this process take, until cancelled."""
        while True:
            workers = await persist(lambda: living(self._pipe))
            self._admission.observe(workers, self._meter.read(), len(self._sessions))
            await asyncio.sleep(_LOAD_S)

    async def _check_room(self) -> None:
        """New sessions are refused before those that are open have no room left."""
        info = await self._pipe.command("INFO", "memory")
        figures = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
        most = int(figures[b"maxmemory"])
        if most and int(figures[b"used_memory"]) > _FULL * most:
            raise Unavailable("the broker has no memory for more sessions")

    @contextlib.asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._follower.listening.wait()
                yield
        except OutOfMemoryError as error:
            raise Unavailable("the broker has no memory for more sessions") from error
        except (TimeoutError, *UNREACHABLE) as error:
            raise Unavailable("the broker is out of reach") from error

    async def offers(self) -> Offers:
        """What the workers can do.

        Raises:
            Unavailable: the broker is out of reach.
        """
        async with self._patience():
            return await offered(self._pipe)

    async def missing(self) -> list[str]:
        """What is missing to serve a turn: stages without a live worker whose model is loaded,
        or "broker"."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                ready = {worker.stage for worker in await living(self._pipe) if worker.ready}
        except (TimeoutError, *UNREACHABLE):
            return ["broker"]
        return [stage for stage in STAGES if stage not in ready]

    async def show_status(self) -> None:
        """Tells the broker how this gateway does, until cancelled; then that it is gone."""
        status = Status(self._gateway, self._meter)
        try:
            await persist(
                lambda: keep_signing_in(self._pipe, lambda: status.describe(len(self._sessions)))
            )
        finally:
            with contextlib.suppress(TimeoutError, *UNREACHABLE):
                async with asyncio.timeout(_PARTING_S):
                    await sign_off(self._pipe, self._gateway)

    async def keep_alive(self) -> None:
        """Renews the keys of the sessions served here, until cancelled."""
        while True:
            await asyncio.sleep(_RENEW_S)
            await persist(self._touch)

    async def _touch(self) -> None:
        await asyncio.gather(*(scripts.touch(self._pipe, s.keys) for s in self._sessions))

    async def flush(self) -> None:
        """Waits until the broker has the last audio and commands of the sessions served here, and
        has counted them."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.gather(self._lanes.flush(), self.access.save())
        except (TimeoutError, *UNREACHABLE):
            log.warning("the last audio did not reach the broker")


@dataclass(frozen=True, slots=True)
class _State:
    """What the broker holds of a session that is to be resumed."""

    config: SessionConfig
    requests: int
    audio_ms: int
    items: list[str]
    settled: int


@contextlib.asynccontextmanager
async def hub(settings: Settings) -> AsyncIterator[Hub]:
    """This process's hub, connected."""
    gateway = new_id("gw")
    keyspace = Keyspace(settings.shards, settings.lanes)
    async with (
        contextlib.aclosing(connect(settings.redis_url)) as subscriber,
        Pipe(connect(settings.redis_url)) as pipe,
    ):
        follower = Follower(pipe, subscriber, keyspace, gateway)
        opened = Hub(settings, pipe, follower, gateway)
        async with asyncio.TaskGroup() as tasks:
            keepers = [
                tasks.create_task(follower.run(), name="follower"),
                tasks.create_task(opened.keep_alive(), name="session keys"),
                tasks.create_task(opened.access.run(), name="access"),
                tasks.create_task(opened.show_status(), name="status"),
                tasks.create_task(opened.watch_load(), name="load"),
                tasks.create_task(persist(lambda: follow(pipe, "gateway")), name="log level"),
            ]
            yield opened
            await opened.flush()
            for keeper in keepers:
                keeper.cancel()
