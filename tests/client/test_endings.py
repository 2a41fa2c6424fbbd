"""How sessions end that could have been resumed, and what must not be told of them."""

import asyncio
import contextlib
import logging
from http import HTTPStatus

import pytest

from client import Parley, ParleyError
from client.outbox import KEPT_REQUESTS
from tests.client.realtime_server import realtime_server
from tests.client.talking import (
    RESUMED,
    SECOND,
    cut,
    hear,
    lost,
    of_type,
    resumable,
    talking,
)
from tests.stages import until


@pytest.mark.parametrize("code", [4001, 1008])
async def test_a_session_given_to_another_is_over(code: int) -> None:
    async with talking(resumable()) as (client, session):
        await session.connections[0].socket.close(code, "taken over by another connection")
        with pytest.raises(ParleyError, match=f"closed the connection: {code} .* taken over by an"):
            await hear(client, of_type(RESUMED))
        with pytest.raises(ParleyError, match="taken over by another connection"):
            await client.send_audio(SECOND)
        assert len(session.connections) == 1


async def test_a_server_that_ends_the_session_is_believed() -> None:
    async with talking(resumable()) as (client, session):
        await session.connections[0].socket.close(1000)
        assert [event.type async for event in client.events()] == ["session.created"]
        assert [event async for event in client.events()] == []
        with pytest.raises(ParleyError, match="the server has ended the session"):
            await client.commit()


@pytest.mark.parametrize(
    "status",
    [
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.TEMPORARY_REDIRECT,
    ],
)
async def test_a_refusal_ends_the_session(status: HTTPStatus) -> None:
    script = resumable()
    async with talking(script) as (client, session):
        script.refusals.append((status, {"Location": "ws://127.0.0.1:9/v1/realtime"}))
        cut(session)
        with pytest.raises(ParleyError, match=f"refused: HTTP {status.value} ") as refused:
            await hear(client, of_type(RESUMED))
        for method in (client.commit(), client.send_audio(SECOND), client.update()):
            with pytest.raises(ParleyError, match=f"refused: HTTP {status.value} "):
                await method
        with pytest.raises(ParleyError, match=f"refused: HTTP {status.value} "):
            await hear(client, of_type(RESUMED))
        assert session.token not in f"{refused.getrepr(chain=True)}"


async def test_a_session_is_not_waited_for_longer_than_the_server_keeps_it() -> None:
    script = resumable(resume_within_s=0.5)
    async with contextlib.AsyncExitStack() as server:
        url = await server.enter_async_context(realtime_server(script))
        async with Parley(url) as client:
            cut(script.sessions[0])
            await server.aclose()
            match = r"could not be resumed within 0\.5 s: no server answers at"
            with pytest.raises(ParleyError, match=match):
                await hear(client, of_type(RESUMED))
            with pytest.raises(ParleyError, match=match):
                await client.commit()


async def test_no_more_than_so_many_requests_wait() -> None:
    script = resumable()
    async with contextlib.AsyncExitStack() as server:
        url = await server.enter_async_context(realtime_server(script))
        async with Parley(url) as client:
            cut(script.sessions[0])
            await server.aclose()
            await lost(client)
            for _ in range(KEPT_REQUESTS):
                await client.clear()
            with pytest.raises(ParleyError, match="no more than 256 requests can wait until"):
                await client.clear()


async def test_the_token_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with talking(resumable()) as (client, session):
            await client.text("Hello")
            heard = await hear(client, of_type("conversation.item.done"))
            cut(session)
            heard += await hear(client, of_type(RESUMED))
            state = vars(client._connected())
            assert session.token not in f"{heard} {state} {client!r}"
            assert heard[0]["session"]["parley"] == {"resume": {"within_s": 60.0}}
    ours = [record for record in caplog.records if record.name != "websockets.server"]
    assert all(session.token not in record.getMessage() for record in ours)


async def test_another_session_is_not_taken_for_the_one_that_was_lost() -> None:
    script = resumable()
    async with talking(script) as (client, session):
        session._resumed = lambda after: session.shown[0]  # type: ignore[method-assign]
        cut(session)
        with pytest.raises(
            ParleyError, match=r"must begin with parley\.session\.resumed, not session"
        ):
            await hear(client, of_type(RESUMED))


async def test_leaving_while_the_connection_is_gone() -> None:
    script = resumable()
    before = asyncio.all_tasks()
    async with contextlib.AsyncExitStack() as server:
        url = await server.enter_async_context(realtime_server(script))
        client = await Parley(url).__aenter__()
        cut(script.sessions[0])
        await server.aclose()
        await lost(client)
        listening = asyncio.create_task(hear(client, of_type(RESUMED)))
        await client.close()
        with pytest.raises(AssertionError, match="the events ended with"):
            await listening
        with pytest.raises(ParleyError, match="the session is closed"):
            await client.commit()
    assert asyncio.all_tasks() == before


async def test_leaving_ends_the_session_at_the_server() -> None:
    async with talking(resumable()) as (client, session):
        cut(session)
        await hear(client, of_type(RESUMED))
        await client.close()
        await until(lambda: session.over)
