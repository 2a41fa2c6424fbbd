"""One conversation with a Parley server over `/v1/realtime`."""

import base64
import http
import json
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from client.events import Event, ParleyError
from client.microphone import paced
from shared.audio import Int16

ENDPOINT = "/v1/realtime"
CONNECT_TIMEOUT_S = 10
MAX_EVENT_BYTES = 16 * 2**20

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


def realtime_url(url: str) -> str:
    """The WebSocket address for a server's `url`; without a path it gets the endpoint's.

    Raises:
        ParleyError: not an address that begins with ws, wss, http or https.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise ParleyError(f"url must look like ws://127.0.0.1:8080, not {url!r}")
    path = ENDPOINT if parts.path in ("", "/") else parts.path
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, parts.query, ""))


class Parley:
    """A session with a server: `async with Parley(url) as session`.

    Audio is int16 mono at 24 kHz both ways. Methods send and return at once; what the server
    makes of it comes as events. Every method raises ParleyError when the connection is gone.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        """`url`: the server's, such as ws://127.0.0.1:8080 or https://voice.example.

        Raises:
            ParleyError: `url` is not an address.
        """
        self.url = realtime_url(url)
        self._api_key = api_key
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> "Parley":
        """Connect.

        Raises:
            ParleyError: nothing answers there, or it refuses; the message says which and why.
        """
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else None
        try:
            self._socket = await connect(
                self.url,
                additional_headers=headers,
                compression=None,  # base64 audio hardly shrinks, and packing it takes time
                open_timeout=CONNECT_TIMEOUT_S,
                max_size=MAX_EVENT_BYTES,
            )
        except InvalidStatus as error:
            raise ParleyError(f"{self.url} refused: {_refusal(error)}") from error
        except TimeoutError as error:
            raise ParleyError(f"{self.url} did not answer in {CONNECT_TIMEOUT_S} s") from error
        except (OSError, EOFError) as error:
            raise ParleyError(f"no server answers at {self.url}: {error}") from error
        except InvalidHandshake as error:
            raise ParleyError(f"{self.url} is not a WebSocket server: {error}") from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave; the server ends the session. Calling it again does nothing."""
        if self._socket is not None:
            await self._socket.close()

    async def events(self) -> AsyncIterator[Event]:
        """What the server says, in order, until it or `close` ends the session in good order.

        An `error` event is yielded like any other: see `Event.error`.

        Raises:
            ParleyError: the connection broke, or the server sent something else than events.
        """
        try:
            async for message in self._connected():
                yield Event.parse(message)
        except ConnectionClosed as error:
            raise _gone(error) from error

    async def update(self, **session: Any) -> None:
        """Change the session's configuration: only the fields given, as the protocol nests them."""
        await self._send("session.update", session={"type": "realtime", **session})

    async def send_audio(self, samples: Int16) -> None:
        """Append what the user said: int16 (n,) at 24 kHz."""
        pcm = samples.astype("<i2", copy=False).tobytes()
        await self._send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    async def stream_audio(self, audio: Iterable[Int16]) -> None:
        """Append `audio` in real time, frame by frame; see `frames` and `silence`."""
        async for frame in paced(audio):
            await self.send_audio(frame)

    async def commit(self) -> None:
        """End the user's turn by hand, where turn detection is off."""
        await self._send("input_audio_buffer.commit")

    async def clear(self) -> None:
        """Throw away the audio that is not part of a turn yet."""
        await self._send("input_audio_buffer.clear")

    async def text(self, text: str) -> None:
        """Add a message of the user's to the conversation; this starts no response."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self._send("conversation.item.create", item=item)

    async def create_response(self, **response: Any) -> None:
        """Have the server answer; `response` overrides the session's configuration once."""
        await self._send("response.create", **({"response": response} if response else {}))

    async def cancel(self, response_id: str | None = None) -> None:
        """Stop the response that is being made, or the one named."""
        named = {"response_id": response_id} if response_id else {}
        await self._send("response.cancel", **named)

    async def _send(self, kind: str, **fields: Any) -> None:
        try:
            await self._connected().send(json.dumps({"type": kind, **fields}))
        except ConnectionClosed as error:
            raise _gone(error) from error

    def _connected(self) -> ClientConnection:
        if self._socket is None:
            raise ParleyError("not connected: use `async with Parley(url) as session`")
        return self._socket


def _refusal(error: InvalidStatus) -> str:
    """An HTTP refusal in a few words: the status, and what the server says of it."""
    status = error.response.status_code
    try:
        phrase = f"HTTP {status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        phrase = f"HTTP {status}"
    said = (error.response.body or b"").decode(errors="replace").strip()
    return f"{phrase} ({said[:200]})" if said else phrase


def _gone(error: ConnectionClosed) -> ParleyError:
    return ParleyError(f"the server closed the connection: {error.rcvd or 'it broke off'}")
