"""A hand-made client of the Realtime protocol, and the sounds it makes."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from shared.audio import Int16
from tests.gateway.running import Gateway
from tests.gateway.schema import check
from tests.stages import SOON_S

RATE = 24_000
# Turns end after 200 ms of silence, and the VAD worker looks at windows of 32 ms.
SILENCE = np.zeros(RATE // 2, np.int16)

Json = dict[str, Any]


def sound(seconds: float, rate: int = RATE) -> Int16:
    """What the `energy` engine takes for speech."""
    time_s = np.arange(round(rate * seconds)) / rate
    return (9_000 * np.sin(2 * np.pi * 300 * time_s)).astype(np.int16)


class Client:
    """One connection, over which anything may be sent."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[Json] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def append(self, samples: Int16) -> None:
        audio = base64.b64encode(samples.tobytes()).decode()
        await self.send("input_audio_buffer.append", audio=audio)

    async def until(self, kind: str) -> Json:
        """The next event of `kind`."""
        while True:
            event = await self.next()
            if event["type"] == kind:
                return event

    async def error(self) -> Json:
        error: Json = (await self.until("error"))["error"]
        return error

    async def update(self, **session: Any) -> None:
        await self.send("session.update", session=session)
        await self.until("session.updated")

    async def next(self) -> Json:
        """The next event, whatever it is."""
        async with asyncio.timeout(SOON_S):
            event: Json = json.loads(await self.socket.recv())
        self.seen.append(event)
        check(event)
        return event

    async def say(self, text: str, **fields: Any) -> Json:
        """Puts a message of the user's into the conversation; returns the item."""
        content = [{"type": "input_text", "text": text}]
        return await self.put(type="message", role="user", content=content, **fields)

    async def put(self, *, previous: dict[str, str | None] | None = None, **item: Any) -> Json:
        """Puts an item into the conversation and returns it as it is shown; `previous` are the
        event's own fields that say where."""
        await self.send("conversation.item.create", item=item, **(previous or {}))
        shown: Json = (await self.until("conversation.item.done"))["item"]
        return shown

    async def answer(self, **wishes: Any) -> Json:
        """Asks for a response and returns it as it is when it is done."""
        await self.send("response.create", response=wishes)
        response: Json = (await self.until("response.done"))["response"]
        return response

    def of(self, kind: str) -> list[Json]:
        """The events of `kind` so far."""
        return [event for event in self.seen if event["type"] == kind]

    def vanish(self) -> None:
        """Breaks the connection off without a word."""
        self.socket.transport.abort()

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.seen]


@contextlib.asynccontextmanager
async def joined(served: Gateway, query: str = "") -> AsyncIterator[Client]:
    async with connect(f"ws://{served.host}/v1/realtime{query}", max_queue=None) as socket:
        client = Client(socket)
        await client.until("session.created")
        yield client


@contextlib.asynccontextmanager
async def resumed(
    served: Gateway, session: Json, after: str, *, token: str | None = None
) -> AsyncIterator[Client]:
    """Goes on with a session: `session` as in `session.created`, `after` the last event's id."""
    token = token or session["parley"]["resume"]["token"]
    ticket = Subprotocol(f"parley-resume.{session['id']}.{token}")
    url = f"ws://{served.host}/v1/realtime?after={quote(after)}"
    async with connect(
        url, subprotocols=[Subprotocol("realtime"), ticket], max_queue=None
    ) as socket:
        assert socket.subprotocol == "realtime"
        yield Client(socket)
