"""Clients that vanish, at any moment: their sessions wait for them a while, then nothing is left
of them, and nothing is logged as an error.

The fixture `served` looks after both.
"""

import asyncio
import contextlib

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.gateway.realtime_client import SILENCE, joined, sound
from tests.gateway.running import Gateway
from tests.stages import until

pytestmark = pytest.mark.usefixtures("sessions_that_wait_three_seconds")


def vanish(socket: ClientConnection) -> None:
    socket.transport.abort()


@pytest.mark.parametrize("path", ["/v1/realtime", "/ws"])
async def test_a_client_may_vanish_as_it_connects(served: Gateway, path: str) -> None:
    host, _, port = served.host.partition(":")
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {served.host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    for _ in range(20):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request.encode())
        await writer.drain()
        writer.transport.abort()
    async with joined(served) as client:
        assert client.kinds == ["session.created"]


async def test_a_client_may_vanish_while_it_speaks(served: Gateway) -> None:
    for _ in range(5):
        async with joined(served) as client:
            await client.append(sound(0.6))
            vanish(client.socket)
    async with connect(f"ws://{served.host}/ws") as socket:
        await socket.send(sound(0.6, 16_000).tobytes())
        vanish(socket)


async def test_a_client_may_vanish_while_the_answer_plays(served: Gateway) -> None:
    async with joined(served) as client:
        await client.append(np.concatenate([sound(0.6), SILENCE]))
        await client.until("response.output_audio.delta")
        vanish(client.socket)
    async with joined(served) as client:
        await client.append(np.concatenate([sound(0.6), SILENCE]))
        await client.until("response.created")
        leaving = asyncio.create_task(client.socket.close())
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.socket.recv()
        await leaving
    async with connect(f"ws://{served.host}/ws") as socket:
        await socket.send(np.concatenate([sound(0.4, 16_000), np.zeros(8_000, np.int16)]).tobytes())
        await until(lambda: any(s._answer for s in served.hub._sessions))
        vanish(socket)


async def test_a_client_that_sends_too_much_at_once_is_let_go(served: Gateway) -> None:
    async with joined(served) as client:
        await client.append(np.concatenate([sound(0.6), SILENCE]))
        await client.until("response.output_audio.delta")
        with contextlib.suppress(ConnectionClosed):
            await client.socket.send("x" * (25 * 2**20))
        await client.socket.wait_closed()


async def test_a_session_that_expired_is_closed(served: Gateway) -> None:
    async with joined(served) as client:
        [session] = served.hub._sessions
        await session._pipe.command("DEL", session.keys.state)
        await client.send("response.create")
        await client.socket.wait_closed()
        assert client.socket.close_code == 1000
