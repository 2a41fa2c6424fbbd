"""One conversation with a Parley server over `/v1/realtime`."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from client.answers import Answer, Call, Listener
from client.connection import Connection
from client.errors import ParleyError
from client.events import Event
from client.files import read_audio
from client.handshake import realtime_url
from client.microphone import SAMPLE_RATE, frames, paced
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

    `client.sync.Parley` is the same for programs without an event loop.
    """

    def __init__(self, url: str, api_key: str | None = None, wait_s: float = 0.0) -> None:
        """`url`: the server's, such as ws://127.0.0.1:8080 or https://voice.example. `wait_s`: for
        how long a new session is tried for where the server is full or not there yet.

        Raises:
            ParleyError: `url` is not an address.
        """
        self.url = realtime_url(url)
        self._api_key = api_key
        self._wait_s = wait_s
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
            Unavailable: the server is full or not there, after `wait_s` still; `retry_after_s`
                says when it wants to be asked again.
            ParleyError: it refuses; the message says why.
        """
        connection = Connection(self.url, self._api_key)
        await connection.open(self._wait_s)
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
        while (event := await self.receive()) is not None:
            yield event

    async def receive(self) -> Event | None:
        """The next of the `events`; None when they are over. Raises as they do."""
        return await self._connected().receive()

    async def answer(self, timeout_s: float = 30.0) -> Answer:
        """Reads events until the next response is over, and returns all of it.

        An answer that was cut off because the user went on speaking is passed over: the next one
        answers all that was said.

        Raises:
            ServerError: the server reports an error.
            ParleyError: the response failed, what was said could not be recognised, nothing at all
                came for `timeout_s`, or the session ended.
        """
        listener = Listener()
        try:
            while True:
                async with asyncio.timeout(timeout_s):
                    event = await self.receive()
                if event is None:
                    raise ParleyError("the session ended before it was answered")
                if answer := listener.take(event):
                    return answer
        except TimeoutError as error:
            raise ParleyError(f"the server gave no answer within {timeout_s:g} s") from error

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

    async def send_file(
        self, path: str | Path, *, realtime: bool = True, silent_s: float = 1.0
    ) -> None:
        """Append a recording, and silence after it, by which the server tells that a turn ended.

        `path`: what `read_audio` reads. In real time this takes as long as the recording; else
        everything goes out at once. `silent_s`: how long the silence is, 0 for none where turn
        detection is off; it has to be longer than the one that the turn detection waits for.

        Raises:
            AudioError: not a recording.
            OSError: the file cannot be read.
        """
        recording = await asyncio.to_thread(read_audio, path)
        pause = np.zeros(round(silent_s * SAMPLE_RATE), np.int16)
        audio = np.concatenate([recording, pause])
        if realtime:
            await self.stream_audio(frames(audio))
        else:
            await self.send_audio(audio)

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

    async def returned(self, call: Call, output: Any) -> None:
        """Add what a function that the model called has returned; this starts no response.

        `output`: what JSON can say.
        """
        item = {
            "id": new_id("item"),
            "type": "function_call_output",
            "call_id": call.id,
            "output": json.dumps(output),
        }
        await self._send("conversation.item.create", item=item)

    async def create_response(self, **response: Any) -> None:
        """Have the server answer; `response` overrides the session's configuration once."""
        await self._send("response.create", **({"response": response} if response else {}))

    async def cancel(self, response_id: str | None = None) -> None:
        """Stop the response that is being made, or the one named."""
        named = {"response_id": response_id} if response_id else {}
        await self._send("response.cancel", **named)

    async def truncate(self, item_id: str, audio_end_ms: int) -> None:
        """Tell the server that a spoken answer was heard only so far, and the rest thrown away."""
        await self._send(
            "conversation.item.truncate",
            item_id=item_id,
            content_index=0,
            audio_end_ms=audio_end_ms,
        )

    async def retrieve(self, item_id: str) -> None:
        """Have the server show an item of the conversation as it is now."""
        await self._send("conversation.item.retrieve", item_id=item_id)

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._connected().request(kind, **fields)

    def _connected(self) -> Connection:
        if self._connection is None:
            raise ParleyError("not connected: use `async with Parley(url) as session`")
        return self._connection
