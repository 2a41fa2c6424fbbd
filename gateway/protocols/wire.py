"""A client's WebSocket, and how a session is held over it, whatever the protocol."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from redis.exceptions import RedisError
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.access import Denied, Exceeded, Grant, patience
from gateway.admission import Unavailable
from gateway.happenings import SessionEnded, TakenOver
from gateway.hub import Hub, Refused
from gateway.session import Session
from shared.broker import UNREACHABLE
from shared.logs import concerning
from shared.metrics.gateway import REFUSED

_SESSION_OVER = 1000
_TRY_AGAIN_LATER = 1013
_TAKEN_OVER = 4001
# A close frame without a code is 1005: what a browser's `close()` sends.
_GOODBYES = {1000, 1001, 1005}
# A client that reads nothing for so long is cut off; its session waits for it.
_SLOW_S = 20.0

log = logging.getLogger(__name__)

T = TypeVar("T")


class Client:
    """The far end of a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._busy_at_s = time.monotonic()

    async def receive(self) -> str | bytes:
        """The next frame: text or binary.

        Raises:
            WebSocketDisconnect: the client has gone.
        """
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            # a close frame has a reason, if an empty one; a connection that broke has none
            raise WebSocketDisconnect(message["code"] if "reason" in message else 1006)
        self._busy_at_s = time.monotonic()
        frame: str | bytes | None = message.get("text")
        return message["bytes"] if frame is None else frame

    async def send(self, frame: str | bytes) -> None:
        """Sends a frame; waits while the client is slow to take what it was sent before.

        Raises:
            WebSocketDisconnect: the client has gone, or takes nothing any more.
        """
        try:
            async with asyncio.timeout(_SLOW_S):
                if isinstance(frame, str):
                    await self._socket.send_text(frame)
                else:
                    await self._socket.send_bytes(frame)
        except (RuntimeError, TimeoutError) as error:
            # closed here: it broke the protocol, answered no ping or stopped reading
            raise WebSocketDisconnect(1006) from error
        self._busy_at_s = time.monotonic()

    async def idle(self, timeout_s: float) -> None:
        """Waits until nothing was sent and nothing received for so long.

        Raises:
            Exceeded: then, always.
        """
        while True:
            left_s = self._busy_at_s + timeout_s - time.monotonic()
            if left_s <= 0:
                break
            await asyncio.sleep(left_s)
        raise Exceeded(f"nothing was sent or received for {timeout_s:g} s", "session_expired")

    async def close(self, code: int, reason: str) -> None:
        """Closes the connection, if it still is one."""
        try:
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError) as error:
            log.debug("closed already: %r", error)


class Talk(Protocol):
    """One connection in its client's protocol."""

    async def converse(self, client: Client) -> None:
        """Talks until an exception says who has gone, and why."""

    async def part(self, ended: Exceeded) -> None:
        """Tells the client why its session ends, if the protocol has a way to."""


Opening = Callable[[Grant], Awaitable[tuple[Session, Talk]]]


async def serve(
    socket: WebSocket,
    hub: Hub,
    opening: Opening,
    *,
    resumable: bool,
    resumes: bool = False,
    subprotocol: str | None = None,
) -> None:
    """Lets a client in and lets it and the session that is `opening` talk until either goes.

    One that may not come in gets an HTTP error. A client that says goodbye ends its session; that
    of one that is cut off waits for it, if it is `resumable`. Whoever `resumes` has a ticket.
    """
    try:
        async with hub.access.admit(socket, resumes=resumes) as grant:
            opened = await _opened(socket, opening(grant))
            if opened is not None:
                with concerning(session_id=opened[0].keys.session_id):
                    await _hold(socket, hub, opened, grant, resumable, subprotocol)
    except Denied as denied:
        await _deny(socket, denied.status, str(denied), denied.code, denied.headers)


async def _opened(socket: WebSocket, opening: Awaitable[T]) -> T | None:
    """The session that is `opening`; None if there is none, and the client got an HTTP error."""
    try:
        return await opening
    except Unavailable as error:
        later = {"Retry-After": str(error.retry_after_s)}
        await _deny(socket, 503, str(error), error.code, later)
    except PermissionError as error:
        await _deny(socket, 403, str(error), "invalid_token")
    except Refused as error:
        await _deny(socket, 404, str(error), "session_ended")
    except ValueError as error:
        await _deny(socket, 400, str(error), "invalid_request")
    return None


async def _deny(
    socket: WebSocket, status: int, reason: str, code: str, headers: dict[str, str] | None = None
) -> None:
    REFUSED.labels(code).inc()
    log.warning("a client was refused: %s", reason)
    await socket.send_denial_response(PlainTextResponse(reason, status, headers))
    await asyncio.sleep(0)  # uvicorn takes it for an error if the connection outlives the call


async def _hold(
    socket: WebSocket,
    hub: Hub,
    opened: tuple[Session, Talk],
    grant: Grant,
    resumable: bool,
    subprotocol: str | None,
) -> None:
    session, talk = opened
    over = not resumable or session.fresh  # until it is accepted, nobody has its token
    try:
        async with patience():
            await grant.begin(session.keys, fresh=session.fresh)
        await socket.accept(subprotocol=subprotocol)
        over = not resumable
        client = Client(socket)
        over |= await _converse(client, session, talk, grant, hub.settings.idle_timeout_s)
    except OSError:
        log.debug("session %s: the client went while it was opened", session.keys.session_id)
    finally:
        await asyncio.shield(_release(hub, session, grant, over))


async def _release(hub: Hub, session: Session, grant: Grant, over: bool) -> None:
    await hub.release(session, over=over)
    if over:
        try:
            await grant.forget()
        except RedisError as error:
            log.warning("session %s is left to expire: %s", session.keys.session_id, error)


async def _converse(
    client: Client, session: Session, talk: Talk, grant: Grant, idle_timeout_s: float
) -> bool:
    """Whether the session is over, and not only the connection."""
    session_id = session.keys.session_id
    over = False
    try:
        await both(talk.converse(client), grant.watch(), client.idle(idle_timeout_s))
    except* WebSocketDisconnect as gone:
        codes = {error.code for error in _each(gone) if isinstance(error, WebSocketDisconnect)}
        log.debug("session %s: the client has gone %s", session_id, codes)
        over = bool(codes & _GOODBYES)
    except* Exceeded as exceeded:
        [reason, *_] = _each(exceeded)
        assert isinstance(reason, Exceeded)
        log.info("session %s: %s", session_id, reason)
        await _part(client, talk, reason)
        over = True
    except* TakenOver as ended:
        log.info("session %s: %s", session_id, next(_each(ended)))
        await client.close(_TAKEN_OVER, str(next(_each(ended))))
    except* SessionEnded as ended:
        log.info("session %s: %s", session_id, next(_each(ended)))
        await client.close(_SESSION_OVER, str(next(_each(ended))))
        over = True
    except* UNREACHABLE as errors:
        log.error("session %s: the broker is out of reach: %s", session_id, next(_each(errors)))
        await client.close(_TRY_AGAIN_LATER, "the server is out of order for the moment")
    return over


async def _part(client: Client, talk: Talk, reason: Exceeded) -> None:
    try:
        await talk.part(reason)
    except WebSocketDisconnect:
        return
    await client.close(_SESSION_OVER, str(reason))


def _each(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """The exceptions in a group and in the groups in it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


async def both(*ways: Coroutine[Any, Any, None]) -> None:
    """Runs both directions of a connection until one of them raises, which ends the others."""
    async with asyncio.TaskGroup() as tasks:
        for way in ways:
            tasks.create_task(way)
