"""A session's connection, which mends itself where the server can resume sessions."""

import asyncio
import base64
import json
import random
import time
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from client import handshake
from client.errors import ParleyError, Unavailable
from client.events import Event
from client.handshake import Ticket
from client.outbox import KEPT_REQUESTS, Audio, Outbox, Request
from shared.audio import Int16

MOST_UNREAD = 4096
"""Events that wait for the application; with more, the server is not listened to."""

# A network that takes nothing for so long is dead, as one is that answers no ping.
_SEND_TIMEOUT_S = handshake.PING_INTERVAL_S + handshake.PING_TIMEOUT_S

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0
_BACK_OFF = wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)


class Connection:
    """One session's events in and out, over as many connections as it takes.

    One task reads, and connects again when a connection breaks. Whoever sends puts what it has into
    the outbox and then empties it, one at a time: so the order of the outbox is the order of the
    network, and a sender waits while the network is slow.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url
        self._api_key = api_key
        self._outbox = Outbox()
        self._sending = asyncio.Lock()
        self._inbox: asyncio.Queue[Event | ParleyError | None] = asyncio.Queue(MOST_UNREAD)
        self._socket: ClientConnection | None = None
        self._ticket: Ticket | None = None
        self._after = ""
        self._task: asyncio.Task[None] | None = None
        self._over: ParleyError | None = None
        self.session_id: str | None = None

    @property
    def connected(self) -> bool:
        """Whether what is sent now goes out at once."""
        return self._socket is not None and self._socket.state is State.OPEN

    async def open(self, wait_s: float) -> None:
        """Connects and begins a session, within `wait_s` where that is not possible at once.

        Raises ParleyError: see `handshake.begin`.
        """
        begin = _retrying(wait_s).wraps(handshake.begin)
        socket, created = await begin(self._url, self._api_key)
        self._note(created)
        if self._ticket is None:
            self._outbox = Outbox(kept_samples=0, kept_requests=0)
        self._socket = socket
        self._task = asyncio.create_task(self._run(socket, created))

    async def close(self) -> None:
        """Ends the session, here and, while connected, at the server."""
        if self._task is None:
            return
        self._over = self._over or ParleyError("the session is closed")
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()
        while not self._inbox.empty():
            self._inbox.get_nowait()
        self._inbox.put_nowait(None)

    async def receive(self) -> Event | None:
        """The next event; None when the session has ended in good order.

        Raises:
            ParleyError: the session has ended otherwise.
        """
        event = await self._inbox.get()
        if isinstance(event, Event):
            return event
        self._inbox.put_nowait(event)  # for whoever asks again
        if event is not None:
            raise ParleyError(str(event)) from event
        return None

    async def send_audio(self, samples: Int16) -> None:
        """Sends int16 (n,) at 24 kHz, now or as soon as there is a connection again.

        Raises:
            ParleyError: the session is over.
        """
        self._check()
        self._outbox.add_audio(samples)
        await self._flush()

    async def request(self, kind: str, **fields: Any) -> None:
        """Sends any other event, likewise.

        Raises:
            ParleyError: the session is over, or too many requests wait for a connection.
        """
        self._check()
        if self._outbox.full:
            raise ParleyError(
                f"no more than {KEPT_REQUESTS} requests can wait until the session is resumed"
            )
        self._outbox.add_request(json.dumps({"type": kind, **fields}))
        await self._flush()

    def _check(self) -> None:
        if self._over is not None:
            raise ParleyError(str(self._over)) from self._over

    async def _flush(self) -> None:
        """Sends what the outbox hands out, until it is empty or the connection is gone."""
        async with self._sending:
            while (socket := self._socket) is not None and socket.state is State.OPEN:
                entry = self._outbox.next()
                if entry is None:
                    return
                try:
                    async with asyncio.timeout(_SEND_TIMEOUT_S):
                        await socket.send(_message(entry))
                except TimeoutError:
                    socket.transport.abort()
                    await socket.wait_closed()
                except ConnectionClosed:
                    pass  # there may be another connection by now; if not, the reader knows why
            self._outbox.lost()

    async def _run(self, socket: ClientConnection, first: Event) -> None:
        """Reads until the session is over, on one connection after another."""
        end: ParleyError | None = None
        try:
            while True:
                began = time.monotonic()
                try:
                    await self._read(socket, first)
                    break
                except Unavailable as lost:
                    if self._ticket is None:
                        raise
                    wait_s = lost.retry_after_s
                    if time.monotonic() - began < _LONGEST_WAIT_S:
                        wait_s = max(wait_s, _FIRST_WAIT_S)
                # Those who lost the same server do not all come back in the same moment.
                await asyncio.sleep(random.uniform(0, wait_s))
                socket, first = await self._resume(self._ticket)
                self._rewind(first)
        except ParleyError as error:
            end = error
        finally:
            self._over = self._over or end or ParleyError("the server has ended the session")
            await socket.close()
        await self._inbox.put(end)

    async def _read(self, socket: ClientConnection, first: Event) -> None:
        """Takes in events until the connection is closed in good order.

        Raises:
            ParleyError: it was closed otherwise, or what came is no event.
        """
        self._socket = socket
        sending = asyncio.create_task(self._flush())
        try:
            await self._take(first)
            async for message in socket:
                await self._take(Event.parse(message))
        except ConnectionClosed as error:
            raise handshake.broken(error) from error
        finally:
            self._socket = None
            self._outbox.lost()
            sending.cancel()
            await asyncio.wait({sending})
            if not sending.cancelled():
                sending.result()

    async def _resume(self, ticket: Ticket) -> tuple[ClientConnection, Event]:
        """Connects again; returns the connection and the first event on it.

        Raises:
            ParleyError: the server refuses, or has not been reached for too long.
        """
        resume = _retrying(ticket.within_s).wraps(handshake.resume)
        try:
            return await resume(self._url, self._api_key, ticket, self._after)
        except Unavailable as error:
            raise ParleyError(
                f"the session could not be resumed within {ticket.within_s:g} s: {error}"
            ) from error

    def _rewind(self, first: Event) -> None:
        """Has what the server lacks sent again, and what came meanwhile after it."""
        match first.fields:
            case {
                "type": "parley.session.resumed",
                "requests": int(requests),
                "audio_ms": int(audio_ms),
            }:
                self._outbox.rewind(requests, audio_ms)
            case _:
                raise ParleyError(
                    f"the server must begin with parley.session.resumed, not {first.type}"
                )

    async def _take(self, event: Event) -> None:
        self._note(event)
        await self._inbox.put(event)

    def _note(self, event: Event) -> None:
        """Remembers what it takes to go on after this event; the application sees no token."""
        self._after = event.fields.get("event_id", self._after)
        match event.fields:
            case {"session": {"id": str(session_id)}}:
                self.session_id = session_id
        match event.fields:
            case {
                "session": {
                    "id": str(session_id),
                    "parley": {"resume": {"token": str(), "within_s": int() | float()} as offer},
                }
            }:
                self._ticket = Ticket(session_id, offer.pop("token"), offer["within_s"])


def _message(entry: Audio | Request) -> str:
    if isinstance(entry, Request):
        return entry.text
    audio = base64.b64encode(entry.pcm).decode()
    return f'{{"type": "input_audio_buffer.append", "audio": "{audio}"}}'


def _retrying(within_s: float) -> AsyncRetrying:
    """Tries what was Unavailable again, for as long as a next try would begin `within_s`."""
    return AsyncRetrying(
        retry=retry_if_exception_type(Unavailable),
        wait=_wait_s,
        stop=stop_before_delay(within_s),
        reraise=True,
    )


def _wait_s(state: RetryCallState) -> float:
    """Longer after each failure, and no shorter than the server asks."""
    lost = state.outcome.exception() if state.outcome else None
    asked_s = lost.retry_after_s if isinstance(lost, Unavailable) else 0.0
    return max(asked_s, _BACK_OFF(state))
