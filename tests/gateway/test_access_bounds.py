"""What a connection may take of the gateway, whoever it is: real sockets, slow and silent ones."""

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway import __main__ as main
from gateway.access import bounds
from gateway.access.bounds import Bounds
from gateway.protocols import wire
from shared.settings import Settings
from tests.gateway.realtime_client import joined
from tests.gateway.running import Gateway, gateway, instant
from tests.stages import SOON_S, until

_REQUEST = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_HALF_A_BODY = (
    "POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"
)
_UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


@contextlib.asynccontextmanager
async def bounded(redis_url: str, **settings: Any) -> AsyncIterator[Gateway]:
    async with gateway(instant(redis_url).model_copy(update=settings)) as running:
        yield running


@contextlib.asynccontextmanager
async def dialled(
    served: Gateway, sent: str = ""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which so much was sent."""
    host, _, port = served.host.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent.encode())
        await writer.drain()
        yield reader, writer
    finally:
        writer.transport.abort()


async def closed(reader: asyncio.StreamReader) -> bytes:
    """All that came until the server closed the connection."""
    async with asyncio.timeout(SOON_S):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "GET /health HTTP/1.1\r\nHost: 127.0",
        _HALF_A_BODY,
        _REQUEST + "\r\nGET /health HTTP/1.1\r\nHost: 127.0",
        _REQUEST + "\r\n" + _HALF_A_BODY,
    ],
    ids=["nothing", "half a request", "half a body", "half a second one", "its half body"],
)
async def test_a_request_must_come_in_time(redis_url: str, sent: str) -> None:
    async with (
        bounded(redis_url, handshake_timeout_s=0.3) as served,
        dialled(served, sent) as (reader, _),
    ):
        await closed(reader)


async def test_a_request_that_drips_in_is_cut_off(redis_url: str) -> None:
    async with (
        bounded(redis_url, handshake_timeout_s=0.3) as served,
        dialled(served, "GET /health HTTP/1.1\r\n") as (reader, writer),
    ):
        cut = asyncio.create_task(closed(reader))
        while not cut.done():
            with contextlib.suppress(ConnectionError):
                writer.write(b"X: y\r\n")
                await writer.drain()
            await asyncio.wait({cut}, timeout=0.05)


async def test_a_session_is_no_request_that_takes_too_long(redis_url: str) -> None:
    async with bounded(redis_url, handshake_timeout_s=0.3) as served, joined(served) as client:
        async with dialled(served) as (reader, _):
            await closed(reader)
        await client.send("session.update", session={"type": "realtime", "tools": []})
        await client.send("nonsense")
        assert (await client.error())["code"] == "unknown_event"


async def test_connections_of_one_address(redis_url: str) -> None:
    async with bounded(redis_url, connections_per_address=2) as served:
        async with joined(served) as client, dialled(served):
            for rest in ("\r\n", _UPGRADE):
                async with dialled(served, _REQUEST + rest) as (reader, _):
                    answer = (await closed(reader)).decode()
                    assert answer.startswith("HTTP/1.1 429")
                    assert "too many connections" in answer
            async with dialled(served) as (reader, _):  # and one that asks for nothing
                await closed(reader)
            await client.socket.close()
        await until(lambda: answers(served))


async def test_connections_of_a_gateway(redis_url: str) -> None:
    async with bounded(redis_url, connections=1) as served:
        async with joined(served), dialled(served, _REQUEST + "\r\n") as (reader, _):
            answer = (await closed(reader)).decode()
        assert answer.startswith("HTTP/1.1 503")
        assert "retry-after" in answer.lower()
        await until(lambda: answers(served))


async def answers(served: Gateway) -> bool:
    async with dialled(served, _REQUEST + "Connection: close\r\n\r\n") as (reader, _):
        return b"200 OK" in await closed(reader)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:1:2::1", "2001:db8:1:3::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_addresses_are_told_apart(one: str, other: str) -> None:
    counted = Bounds(Settings(connections_per_address=1))
    assert counted.enter(_Peer(one)) is None
    refusal = counted.enter(_Peer(one))
    assert refusal is not None
    assert refusal.status_code == 429
    assert counted.enter(_Peer(other)) is None


def test_addresses_of_one_ipv6_network_are_one() -> None:
    counted = Bounds(Settings(connections_per_address=1))
    first = _Peer("2001:db8:1:2::1")
    assert counted.enter(first) is None
    assert counted.enter(_Peer("2001:db8:1:2::2")) is not None
    counted.leave(first)
    assert counted.enter(_Peer("2001:db8:1:2::2")) is None


class _Peer(asyncio.BaseTransport):
    """A connection of this address."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})


async def test_a_session_in_which_nothing_happens_ends(redis_url: str) -> None:
    async with bounded(redis_url, idle_timeout_s=0.5) as served:
        async with joined(served) as client:
            error = await client.error()
            assert error["code"] == "session_expired"
            await client.socket.wait_closed()
            assert client.socket.close_code == 1000
        async with connect(f"ws://{served.host}/ws") as original:
            await original.wait_closed()
        await until(lambda: served.idle)


async def test_an_append_of_fifteen_mebibytes_passes(redis_url: str) -> None:
    async with bounded(redis_url) as served, joined(served) as client:
        for size, code in ((15 * 2**20, None), (15 * 2**20 + 2, "invalid_value")):
            audio = base64.b64encode(bytes(size)).decode()
            await client.send("input_audio_buffer.append", audio=audio)
            await client.send("nonsense")
            codes = [(await client.error())["code"]]
            if codes != ["unknown_event"]:
                codes.append((await client.error())["code"])
            assert codes == [each for each in (code, "unknown_event") if each]


async def test_a_message_beyond_all_bounds_ends_the_connection(redis_url: str) -> None:
    async with bounded(redis_url) as served, joined(served) as client:
        with contextlib.suppress(ConnectionClosed):
            await client.socket.send("x" * (24 * 2**20 + 1))
        await client.socket.wait_closed()
        assert client.socket.close_code == 1009
        await until(lambda: served.idle)


async def test_a_peer_that_answers_no_ping_is_let_go(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_PING_S", 0.2)
    async with bounded(redis_url) as served, joined(served) as alive:
        request = f"GET /v1/realtime HTTP/1.1\r\nHost: {served.host}\r\n{_UPGRADE}"
        async with dialled(served, request) as (reader, _):
            assert b"session.created" in await closed(reader)
        await until(lambda: len(served.hub._sessions) == 1)
        await alive.send("nonsense")
        assert (await alive.error())["code"] == "unknown_event"


async def test_a_client_that_stops_reading_loses_its_socket(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_SLOW_S", 0.5)
    monkeypatch.setattr(bounds, "_LINGER_S", 0.5)
    async with bounded(redis_url) as served:
        host, _, port = served.host.partition(":")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, (host, int(port)))
            request = f"GET /v1/realtime HTTP/1.1\r\nHost: {served.host}\r\n{_UPGRADE}"
            await loop.sock_sendall(deaf, request.encode())
            await until(lambda: bool(served.hub._sessions))
            update = {"type": "session.update", "session": {"instructions": "x" * 30_000}}
            sending = asyncio.create_task(_flood(deaf, frame(json.dumps(update))))
            # the session is let go of, and so is the connection, though nobody has read anything
            await until(lambda: served.idle)
            await until(lambda: not served.connections)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _flood(deaf: socket.socket, message: bytes) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while True:
            await loop.sock_sendall(deaf, message)


def frame(text: str) -> bytes:
    """A text frame, masked with zeros."""
    data = text.encode()
    return b"\x81\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data
