"""A client's WebSocket, and how a session is held over it, whatever the protocol."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.hub import Hub, Unavailable
from gateway.session import Session, SessionEnded
from shared.broker import UNREACHABLE
from shared.messages import SessionConfig

_SERVICE_RESTART = 1012
_TRY_AGAIN_LATER = 1013

log = logging.getLogger(__name__)


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
            raise WebSocketDisconnect(message["code"])
        frame: str | bytes | None = message.get("text")
        return message["bytes"] if frame is None else frame

    async def send(self, frame: str | bytes) -> None:
        """Sends a frame; waits while the client is slow to take what it was sent before.

        Raises:
            WebSocketDisconnect: the client has gone.
        """
        try:
            if isinstance(frame, str):
                await self._socket.send_text(frame)
            else:
                await self._socket.send_bytes(frame)
        except RuntimeError as error:  # closed here: it broke the protocol or answered no ping
            raise WebSocketDisconnect(1006) from error

    async def close(self, code: int, reason: str) -> None:
        """Closes the connection, if it still is one."""
        try:
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError) as error:
            log.debug("closed already: %r", error)


Converse = Callable[[Client, Session], Awaitable[None]]


async def serve(
    socket: WebSocket,
    hub: Hub,
    config: SessionConfig,
    converse: Converse,
    *,
    lead_s: float | None,
    subprotocol: str | None = None,
) -> None:
    """Opens a session, accepts the client and lets the two `converse` until either goes.

    A client for which no session can be opened gets HTTP status 503. `lead_s` as in `Session`.
    """
    try:
        async with hub.session(config, lead_s=lead_s) as session:
            try:
                await socket.accept(subprotocol=subprotocol)
            except OSError:  # it went while its session was being opened
                return
            await _hold(Client(socket), session, converse)
    except Unavailable as error:
        log.warning("a client was refused: %s", error)
        refusal = PlainTextResponse(str(error), status_code=503, headers={"Retry-After": "1"})
        await socket.send_denial_response(refusal)
        await asyncio.sleep(0)  # uvicorn takes it for an error if the connection outlives the call


async def _hold(client: Client, session: Session, converse: Converse) -> None:
    session_id = session.keys.session_id
    try:
        await converse(client, session)
    except* WebSocketDisconnect:
        log.debug("session %s: the client has gone", session_id)
    except* SessionEnded as ended:
        log.info("session %s: %s", session_id, ended.exceptions[0])
        await client.close(_SERVICE_RESTART, "the session has ended")
    except* UNREACHABLE as errors:
        log.error("session %s: the broker is out of reach: %s", session_id, errors.exceptions[0])
        await client.close(_TRY_AGAIN_LATER, "the server is out of order for the moment")


async def both(*ways: Coroutine[Any, Any, None]) -> None:
    """Runs both directions of a connection until one of them raises, which ends the other."""
    async with asyncio.TaskGroup() as tasks:
        for way in ways:
            tasks.create_task(way)
