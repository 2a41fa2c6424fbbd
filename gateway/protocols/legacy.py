"""`WS /ws`: the endpoint of Hugging Face's original speech-to-speech deployment.

The client sends binary frames of 16 kHz `int16`, and empty ones while it plays the answer. The
server sends at most one frame for each it receives, with exactly as many samples as the client's
last frame of audio had, the last one padded with silence, then the four bytes `DONE`.
"""

import asyncio
import contextlib
import logging

from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.hub import Hub
from gateway.session import ResponseEnded, Session, SessionEnded
from shared.audio import SAMPLE_RATE, pcm16
from shared.messages import SessionConfig, TurnDetection

DONE = b"DONE"

log = logging.getLogger(__name__)


async def serve(socket: WebSocket, hub: Hub) -> None:
    """Serves one client of the original protocol until it goes."""
    await socket.accept()
    config = SessionConfig(
        turn_detection=TurnDetection(silence_ms=hub.settings.silence_ms),
        output_rate=SAMPLE_RATE,
    )
    async with hub.session(config, lead_s=None) as session:
        client = _Client(socket, session)
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(client.follow(), name="session events")
            with contextlib.suppress(WebSocketDisconnect):  # an abrupt end is the usual one
                await client.converse()
            following.cancel()


class _Client:
    """One connection: a frame in, at most one frame out."""

    def __init__(self, socket: WebSocket, session: Session) -> None:
        self._socket = socket
        self._session = session
        self._frame_samples = 0
        self._answering = False
        self._over = False

    async def follow(self) -> None:
        """Keeps the answer up to date; its audio goes out as the client's frames come in."""
        try:
            async for event in self._session.events():
                if isinstance(event, ResponseEnded):
                    self._over = self._answering
        except SessionEnded as error:
            log.info("session %s: %s", self._session.keys.session_id, error)
            await self._socket.close(code=1012)

    async def converse(self) -> None:
        """Takes frames and answers each, until the client goes."""
        while True:
            frame = await self._receive()
            samples = pcm16(frame[: len(frame) & ~1])  # half a sample cannot be played
            if len(samples):
                self._frame_samples = len(samples)
                self._session.push(samples)
            await self._reply()

    async def _receive(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            frame: bytes | None = message.get("bytes")
            if frame is not None:  # the protocol has no text frames
                return frame

    async def _reply(self) -> None:
        if self._over:
            self._over = self._answering = False
            await self._socket.send_bytes(DONE)
            return
        if not self._frame_samples:
            return
        samples = self._session.pull(self._frame_samples)
        if not len(samples):
            return
        self._answering = True
        padding = bytes(2 * (self._frame_samples - len(samples)))
        await self._socket.send_bytes(samples.tobytes() + padding)
        if await self._session.conclude() is not None:
            self._over = True
