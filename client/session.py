"""One conversation with a Parley server over `/v1/realtime`."""

from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any

from client.connection import Connection
from client.events import Event, ParleyError
from client.handshake import realtime_url
from client.microphone import paced
from shared.audio import Int16
from shared.ids import new_id


class Parley:
    """A session with a server: `async with Parley(url) as session`.

    Audio is int16 mono at 24 kHz both ways. Methods send and return at once; what the server
    makes of it comes as events.

    With a server that resumes sessions, a connection that breaks is made anew, to hear and to send
    exactly what was missed. Meanwhile the methods keep what they are given: requests up to a
    number (`outbox.KEPT_REQUESTS`), and audio up to a time (`outbox.KEPT_AUDIO_S`), from which on
    the oldest becomes silence. Every method raises ParleyError when the session is over.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        """`url`: the server's, such as ws://127.0.0.1:8080 or https://voice.example.

        Raises:
            ParleyError: `url` is not an address.
        """
        self.url = realtime_url(url)
        self._api_key = api_key
        self._connection: Connection | None = None

    @property
    def id(self) -> str | None:
        """The session's id; None if the server gave it none."""
        return self._connected().session_id

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, and not only a session that waits for one."""
        return self._connection is not None and self._connection.connected

    async def __aenter__(self) -> "Parley":
        """Connect.

        Raises:
            ParleyError: nothing answers there, or it refuses; the message says which and why.
        """
        connection = Connection(self.url, self._api_key)
        await connection.open()
        self._connection = connection
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
        if self._connection is not None:
            await self._connection.close()

    async def events(self) -> AsyncIterator[Event]:
        """What the server says, in order, until it or `close` ends the session in good order.

        An `error` event is yielded like any other: see `Event.error`. So is
        `parley.session.resumed`, after which a conversation goes on as if nothing had been.
        Whoever sends has to read events too: no more than `connection.MOST_UNREAD` wait.

        Raises:
            ParleyError: the connection broke for good, or the server sent something else than
                events.
        """
        connection = self._connected()
        while (event := await connection.receive()) is not None:
            yield event

    async def update(self, **session: Any) -> None:
        """Change the session's configuration: only the fields given, as the protocol nests them."""
        await self._send("session.update", session={"type": "realtime", **session})

    async def send_audio(self, samples: Int16) -> None:
        """Append what the user said: int16 (n,) at 24 kHz."""
        await self._connected().send_audio(samples)

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
        # The id is chosen here, so that a message sent again is known to be the same.
        item = {"id": new_id("item"), "type": "message", "role": "user", "content": content}
        await self._send("conversation.item.create", item=item)

    async def create_response(self, **response: Any) -> None:
        """Have the server answer; `response` overrides the session's configuration once."""
        await self._send("response.create", **({"response": response} if response else {}))

    async def cancel(self, response_id: str | None = None) -> None:
        """Stop the response that is being made, or the one named."""
        named = {"response_id": response_id} if response_id else {}
        await self._send("response.cancel", **named)

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._connected().request(kind, **fields)

    def _connected(self) -> Connection:
        if self._connection is None:
            raise ParleyError("not connected: use `async with Parley(url) as session`")
        return self._connection
