"""A client's WebSocket, and how a session is held over it, whatever the protocol."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.happenings import SessionEnded, TakenOver
from gateway.hub import Hub, Refused, Unavailable
from gateway.session import Session
from shared.broker import UNREACHABLE

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

    async def receive(self) -> str | bytes:
        """The next frame: text or binary.

        Raises:
            WebSocketDisconnect: the client has gone.
        """
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            # a close frame has a reason, if an empty one; a connection that broke has none
            raise WebSocketDisconnect(message["code"] if "reason" in message else 1006)
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

    async def close(self, code: int, reason: str) -> None:
        """Closes the connection, if it still is one."""
        try:
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError) as error:
            log.debug("closed already: %r", error)


async def admit(socket: WebSocket, opening: Awaitable[T]) -> T | None:
    """The session that is `opening`; None if there is none, and the client got an HTTP error."""
    try:
        return await opening
    except Unavailable as error:
        await _deny(socket, 503, str(error), {"Retry-After": "1"})
    except PermissionError as error:
        await _deny(socket, 403, str(error))
    except Refused as error:
        await _deny(socket, 404, str(error))
    except ValueError as error:
        await _deny(socket, 400, str(error))
    return None


async def _deny(
    socket: WebSocket, status: int, reason: str, headers: dict[str, str] | None = None
) -> None:
    log.warning("a client was refused: %s", reason)
    await socket.send_denial_response(PlainTextResponse(reason, status, headers))
    await asyncio.sleep(0)  # uvicorn takes it for an error if the connection outlives the call


Converse = Callable[[Client, Session], Awaitable[None]]


async def hold(
    socket: WebSocket,
    hub: Hub,
    session: Session,
    converse: Converse,
    *,
    resumable: bool,
    subprotocol: str | None = None,
) -> None:
    """Accepts the client and lets it and its session `converse` until either goes.

    A client that says goodbye ends its session; that of one that is cut off waits for it, if it
    is `resumable`.
    """
    over = not resumable
    try:
        await socket.accept(subprotocol=subprotocol)
        goodbye = await _hold(Client(socket), session, converse)
        over = goodbye or not resumable
    except OSError:
        over = over or session.fresh  # nobody has its token
        log.debug("session %s: the client went while it was opened", session.keys.session_id)
    finally:
        await asyncio.shield(hub.release(session, over=over))


async def _hold(client: Client, session: Session, converse: Converse) -> bool:
    """Whether the client has said goodbye."""
    session_id = session.keys.session_id
    goodbye = False
    try:
        await converse(client, session)
    except* WebSocketDisconnect as gone:
        codes = {error.code for error in gone.exceptions if isinstance(error, WebSocketDisconnect)}
        log.debug("session %s: the client has gone %s", session_id, codes)
        goodbye = bool(codes & _GOODBYES)
    except* TakenOver as ended:
        log.info("session %s: %s", session_id, ended.exceptions[0])
        await client.close(_TAKEN_OVER, str(ended.exceptions[0]))
    except* SessionEnded as ended:
        log.info("session %s: %s", session_id, ended.exceptions[0])
        await client.close(_SESSION_OVER, str(ended.exceptions[0]))
    except* UNREACHABLE as errors:
        log.error("session %s: the broker is out of reach: %s", session_id, errors.exceptions[0])
        await client.close(_TRY_AGAIN_LATER, "the server is out of order for the moment")
    return goodbye


async def both(*ways: Coroutine[Any, Any, None]) -> None:
    """Runs both directions of a connection until one of them raises, which ends the other."""
    async with asyncio.TaskGroup() as tasks:
        for way in ways:
            tasks.create_task(way)
