"""`WS /ws`: the endpoint of Hugging Face's original speech-to-speech deployment.

The client sends binary frames of 16 kHz `int16`, and empty ones while it plays the answer. The
server sends at most one frame for each it receives, with exactly as many samples as the client's
last frame of audio had, the last one padded with silence, then the four bytes `DONE`.
"""

from starlette.websockets import WebSocket

from gateway.access import Exceeded, Grant
from gateway.happenings import ResponseEnded
from gateway.hub import Hub
from gateway.protocols import wire
from gateway.protocols.wire import Client
from gateway.session import Session
from shared.audio import SAMPLE_RATE, pcm16
from shared.messages import SessionConfig, TurnDetection

DONE = b"DONE"


async def serve(socket: WebSocket, hub: Hub) -> None:
    """Serves one client of the original protocol until it goes."""
    config = SessionConfig(
        language=hub.settings.language,
        turn_detection=TurnDetection(silence_ms=hub.settings.silence_ms),
        output_rate=SAMPLE_RATE,
    )

    async def opening(grant: Grant) -> tuple[Session, _Connection]:
        session, _ = await hub.open(config, lead_s=None)
        return session, _Connection(session, grant)

    await wire.serve(socket, hub, opening, resumable=False)


class _Connection:
    """One connection: a frame in, at most one frame out."""

    _client: Client

    def __init__(self, session: Session, grant: Grant) -> None:
        self._session = session
        self._grant = grant
        self._frame_samples = 0
        self._answering = False
        self._over = False

    async def converse(self, client: Client) -> None:
        """Takes frames in and sends frames out."""
        self._client = client
        await wire.both(self.listen(), self.follow())

    async def part(self, ended: Exceeded) -> None:
        """The protocol has no word for it; the reason of the close frame says it."""

    async def follow(self) -> None:
        """Keeps the answer up to date; its audio goes out as the client's frames come in."""
        async for event in self._session.events():
            if isinstance(event, ResponseEnded):
                self._grant.answered(event.answer)
                self._over = self._answering

    async def listen(self) -> None:
        """Takes frames and answers each."""
        while True:
            frame = await self._client.receive()
            if isinstance(frame, str):
                continue  # the protocol has no text frames
            samples = pcm16(frame[: len(frame) & ~1])  # half a sample cannot be played
            if len(samples):
                self._frame_samples = len(samples)
                self._grant.hear(len(samples))
                self._session.voice.push(samples)
            await self._reply()

    async def _reply(self) -> None:
        if self._over:
            self._over = self._answering = False
            await self._client.send(DONE)
            return
        if not self._frame_samples:
            return
        samples = self._session.pull(self._frame_samples)
        if not len(samples):
            return
        self._answering = True
        padding = bytes(2 * (self._frame_samples - len(samples)))
        await self._client.send(samples.tobytes() + padding)
        ended = await self._session.conclude()
        if ended is not None:
            self._grant.answered(ended.answer)
            self._over = True
