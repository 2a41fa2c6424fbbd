"""Asks a running server, and notes every kind of event that it sends and the client can read."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from client import Event

Json = dict[str, Any]

_SOON_S = 20.0
_RATE = 24_000


class Peer:
    """One connection to the server. `seen` collects the types of what it sends."""

    def __init__(self, socket: ClientConnection, seen: set[str]) -> None:
        self._socket = socket
        self._seen = seen
        self._sent = 0

    async def send(self, kind: str, **fields: Any) -> str:
        """Sends an event; returns the id that it gave it."""
        self._sent += 1
        event_id = f"probe_{self._sent}"
        await self._socket.send(json.dumps({"type": kind, "event_id": event_id, **fields}))
        return event_id

    async def until(self, *kinds: str, asked: str | None = None) -> Json:
        """The next event of one of these types, or the error that answers the event `asked`."""
        async with asyncio.timeout(_SOON_S):
            while True:
                event = Event.parse(await self._socket.recv()).fields  # raises if it cannot read it
                self._seen.add(event["type"])
                answers = event["type"] == "error" and event["error"]["event_id"] == asked
                if event["type"] in kinds or (asked is not None and answers):
                    return event

    async def ask(self, kind: str, *answers: str, **fields: Any) -> Json:
        """What the server answers: an event of one of these types, or an error."""
        return await self.until(*answers, asked=await self.send(kind, **fields))

    async def say(self, seconds: float) -> None:
        """Speaks, in what the `energy` engine takes for speech, and then falls silent."""
        time_s = np.arange(round(_RATE * seconds)) / _RATE
        sound = 9_000 * np.sin(2 * np.pi * 300 * time_s)
        silence = np.zeros(_RATE)
        audio = np.concatenate([sound, silence]).astype(np.int16).tobytes()
        await self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())


@contextlib.asynccontextmanager
async def joined(
    url: str, seen: set[str], query: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[Peer]:
    """A new session."""
    address = f"{url}/v1/realtime{query}"
    async with connect(address, additional_headers=headers, max_queue=None) as socket:
        peer = Peer(socket, seen)
        await peer.until("session.created")
        yield peer
