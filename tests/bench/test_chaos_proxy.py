"""The network of the chaos suite carries every byte, unless it is told not to."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest

from bench.chaos import proxy
from bench.chaos.proxy import Link


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that says everything again; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[Link]:
    async with echo() as port, proxy.opened([port], random.Random(1)) as link:
        yield link


async def said_again(link: Link, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(data)
    try:
        async with asyncio.timeout(30):
            return await reader.readexactly(len(data))
    finally:
        writer.close()


async def test_every_byte_comes_through_in_order() -> None:
    data = random.Random(1).randbytes(1_000_000)
    async with linked() as link:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        assert [connection.gateway for connection in link.connections] == [0]


async def test_a_delay_changes_when_and_not_what() -> None:
    data = random.Random(1).randbytes(100_000)
    async with linked() as link:
        link.delay(0.02, for_s=30.0)
        assert await said_again(link, data) == data


async def test_what_is_stalled_comes_afterwards() -> None:
    async with linked() as link:
        before_s = time.monotonic()
        link.stall(0.2)
        assert await said_again(link, b"hello") == b"hello"
        assert time.monotonic() - before_s >= 0.2


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    async with linked() as link:
        link.slow(1_000_000, for_s=30.0)
        data = random.Random(1).randbytes(200_000)
        assert await said_again(link, data) == data


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_connection_is_over_for_both_sides(reset: bool) -> None:
    async with linked() as link:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        link.cut(reset, offline_s=0.0)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert await said_again(link, b"again") == b"again"


async def test_while_it_is_offline_nobody_is_let_in() -> None:
    async with linked() as link:
        link.cut(reset=False, offline_s=60.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert link.connections == []


async def test_any_gateway_that_answers_will_do() -> None:
    async with echo() as port:
        gone = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        nobody = gone.sockets[0].getsockname()[1]
        gone.close()
        await gone.wait_closed()
        async with proxy.opened([nobody, port], random.Random(1)) as link:
            for _ in range(5):
                assert await said_again(link, b"hello") == b"hello"
            assert {connection.gateway for connection in link.connections} == {1}
