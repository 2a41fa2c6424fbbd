"""A new session where the server has no room for it yet."""

import asyncio
import socket
from collections import deque
from http import HTTPStatus

import pytest

from client import Parley, ParleyError, Unavailable
from tests.client.realtime_server import Refusal, Script, realtime_server
from tests.support.up import free_port

FULL: Refusal = (HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"})
SOON: Refusal = (HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "0"})


@pytest.mark.parametrize("status", [HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS])
async def test_a_full_server_says_when_to_come_back(status: HTTPStatus) -> None:
    script = Script(full=deque([(status, {"Retry-After": "5"})]))
    async with realtime_server(script) as url:
        match = rf"refused: HTTP {status.value} .*, to be tried again in 5 s \(refused by the scr"
        with pytest.raises(Unavailable, match=match) as refused:
            await Parley(url).__aenter__()
        assert refused.value.retry_after_s == 5.0
        async with Parley(url):
            pass


async def test_a_full_server_is_asked_again() -> None:
    script = Script(full=deque([SOON] * 3))
    async with realtime_server(script) as url, Parley(url, wait_s=60) as session:
        assert not script.full
        assert session.connected


async def test_a_wait_that_is_too_long_is_not_begun() -> None:
    script = Script(full=deque([FULL] * 2))
    async with realtime_server(script) as url:
        with pytest.raises(Unavailable, match="to be tried again in 5 s"):
            await Parley(url, wait_s=4).__aenter__()
    assert len(script.full) == 1


async def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    port = free_port()
    session = Parley(f"ws://127.0.0.1:{port}", wait_s=60)
    connecting = asyncio.create_task(session.__aenter__())
    tried = asyncio.Event()

    async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        tried.set()

    async with await asyncio.start_server(turn_away, "127.0.0.1", port):
        await tried.wait()
    async with realtime_server(Script(), port):
        await connecting
        assert session.connected
        await session.close()


async def test_a_refusal_for_good_is_not_tried_again() -> None:
    async with realtime_server(Script(api_key="secret")) as url:
        with pytest.raises(ParleyError, match="refused: HTTP 401") as refused:
            await Parley(url, api_key="wrong", wait_s=60).__aenter__()
        assert not isinstance(refused.value, Unavailable)


async def test_nobody_there_may_be_somebody_later() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="no server answers") as refused:
            await Parley(f"ws://127.0.0.1:{unused.getsockname()[1]}").__aenter__()
    assert refused.value.retry_after_s == 0.0
