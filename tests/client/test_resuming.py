"""A session outlives its connections: the client against a server that loses them by script."""

import asyncio
import base64
import contextlib
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest

from client import Event, Parley, ParleyError, handshake
from client import connection as transport
from client.outbox import KEPT_REQUESTS
from shared.audio import Int16
from tests.client.realtime_server import Script, Session, realtime_server
from tests.stages import until
from tests.support.up import free_port

RESUMED = "parley.session.resumed"
SECOND = np.arange(1, 24_001).astype(np.int16)


def resumable(**fields: Any) -> Script:
    return Script(**{"resume_within_s": 60.0, **fields})


@contextlib.asynccontextmanager
async def talking(script: Script, **options: Any) -> AsyncIterator[tuple[Parley, Session]]:
    """A client, and its session at the server."""
    async with realtime_server(script) as url, Parley(url, **options) as client:
        yield client, script.sessions[0]


async def hear(client: Parley, last: Callable[[Event], bool]) -> list[Event]:
    """Events up to and including the first that is the `last`."""
    heard = []
    async with asyncio.timeout(20):
        async for event in client.events():
            heard.append(event)
            if last(event):
                return heard
    raise AssertionError(f"the events ended with {[event.type for event in heard]}")


def of_type(kind: str) -> Callable[[Event], bool]:
    return lambda event: event.type == kind


def unbroken(heard: list[Event], session: Session) -> bool:
    """Whether these are the session's events from the first on, each once and in order."""
    ids = [event["event_id"] for event in heard if event.type != RESUMED]
    return ids == [event["event_id"] for event in session.shown[: len(ids)]]


def audio(received: list[dict[str, Any]]) -> Int16:
    sent = [event["audio"] for event in received if event["type"] == "input_audio_buffer.append"]
    return np.frombuffer(b"".join(base64.b64decode(part) for part in sent), "<i2")


def order(received: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in received]


def cut(session: Session) -> None:
    session.connections[-1].cut()


async def lost(client: Parley) -> None:
    await until(lambda: not client.connected)


async def resumed(session: Session, connections: int = 2) -> None:
    await until(lambda: len(session.connections) == connections)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent network is noticed in a moment."""
    monkeypatch.setattr(handshake, "PING_INTERVAL_S", 0.1)
    monkeypatch.setattr(handshake, "PING_TIMEOUT_S", 0.1)
    monkeypatch.setattr(handshake, "CLOSE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(transport, "_SEND_TIMEOUT_S", 0.2)


@pytest.mark.parametrize("how", [None, 1011, 1012, 1013, "stalled"])
@pytest.mark.usefixtures("impatient")
async def test_an_answer_broken_off_is_heard_whole(how: int | str | None) -> None:
    script = resumable(mute_from="response.output_audio.delta")
    async with talking(script) as (client, session):
        await client.create_response()
        connection = session.connections[0]
        await until(lambda: connection.muted and session.shown[-1]["type"] == "response.done")
        if isinstance(how, int):
            await connection.socket.close(how)
        elif how == "stalled":
            connection.stall()
        else:
            connection.cut()
        heard = await hear(client, of_type("response.done"))
        assert client.connected
    kinds = [event.type for event in heard]
    at = kinds.index(RESUMED)
    assert kinds[at - 1 : at + 2] == [
        "response.output_audio_transcript.delta",
        RESUMED,
        "response.output_audio.delta",
    ]
    assert kinds.count(RESUMED) == 1
    assert unbroken(heard, session)
    assert len(heard) == len(session.shown) + 1
    deltas = [event.audio for event in heard if event.type == "response.output_audio.delta"]
    assert np.array_equal(np.concatenate(deltas), script.audio)


async def test_what_is_sent_while_nobody_answers_is_sent_afterwards() -> None:
    busy = (HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "0"})
    script = resumable(refusals=deque([busy] * 3))
    async with talking(script) as (client, session):
        await client.update(audio={"input": {"turn_detection": None}})
        await until(lambda: len(session.requests) == 1)
        cut(session)
        await lost(client)
        await client.send_audio(SECOND[:480])
        await client.commit()
        await client.send_audio(SECOND[480:960])
        await client.create_response()
        await resumed(session)
        await client.clear()
        heard = await hear(client, of_type("input_audio_buffer.cleared"))
        assert not script.refusals
        assert unbroken(heard, session)
        received = session.connections[1].received
        assert order(received) == [
            "input_audio_buffer.append",
            "input_audio_buffer.commit",
            "input_audio_buffer.append",
            "response.create",
            "input_audio_buffer.clear",
        ]
        assert np.array_equal(audio(received), SECOND[:960])
        assert order(session.requests) == [
            "session.update",
            *order(received)[1::2],
            order(received)[-1],
        ]


async def test_what_the_server_lost_is_sent_again_and_no_more() -> None:
    async with talking(resumable()) as (client, session):
        await client.update(instructions="Answer briefly.")
        await client.send_audio(SECOND[:12_000])
        await client.text("one")
        await client.send_audio(SECOND[12_000:])
        await client.text("two")
        await until(lambda: len(session.requests) == 3)
        sent = session.connections[0].received
        cut(session)
        session.forget(requests=2, audio_ms=750)
        await resumed(session)
        await until(lambda: len(session.requests) == 3)
        received = session.connections[1].received
        assert received[-1] == sent[-1]
        assert received[-1]["item"]["id"].startswith("item_")
        assert order(received) == ["input_audio_buffer.append", "conversation.item.create"]
        assert np.array_equal(audio(received), SECOND[18_000:])
        assert np.array_equal(session.heard, SECOND)


async def test_many_senders_and_a_connection_that_keeps_breaking() -> None:
    """Whatever is cut off when, every request arrives once and in order, and all of the audio."""
    luck = random.Random(7)
    texts = [[f"{sender}.{number}" for number in range(40)] for sender in range(5)]
    script = resumable()
    async with talking(script) as (client, session):

        async def write(own: list[str]) -> None:
            for text in own:
                await client.text(text)

        async def speak() -> None:
            for at in range(0, len(SECOND), 100):
                await client.send_audio(SECOND[at : at + 100])

        async def break_off() -> None:
            for number in range(1, 13):
                await resumed(session, number)
                connection = session.connections[-1]
                enough = luck.randrange(1, 40)
                if not speaking.done():
                    await until(lambda: len(connection.received) >= enough or speaking.done())  # noqa: B023
                connection.cut()
                session.forget(
                    luck.randrange(len(session.requests) // 2, len(session.requests) + 1),
                    luck.randrange(len(session.heard) // 24 + 1),
                )

        async with asyncio.TaskGroup() as tasks:
            speaking = tasks.create_task(speak())
            for own in texts:
                tasks.create_task(write(own))
            tasks.create_task(break_off())
        await until(lambda: len(session.requests) == 200)
        await until(lambda: len(session.heard) == len(SECOND))
        assert np.array_equal(session.heard, SECOND)
        arrived = [event["item"]["content"][0]["text"] for event in session.requests]
        for own in texts:
            assert [text for text in arrived if text in own] == own
        heard = await hear(client, lambda event: event["event_id"] == session.shown[-1]["event_id"])
        assert unbroken(heard, session)


@pytest.mark.usefixtures("impatient")
async def test_a_sender_waits_for_a_slow_network_but_not_for_a_dead_one() -> None:
    async with talking(resumable()) as (client, session):
        minute = np.tile(SECOND, 50)
        session.connections[0].stall()
        sending = asyncio.create_task(client.send_audio(minute))
        await resumed(session)
        await sending
        await until(lambda: len(session.heard) == len(minute))
        assert np.array_equal(session.heard, minute)


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


async def test_a_server_restarted_is_found_again() -> None:
    script, port = resumable(), free_port()
    async with contextlib.AsyncExitStack() as first:
        url = await first.enter_async_context(realtime_server(script, port))
        async with Parley(url) as client:
            [session] = script.sessions
            cut(session)
            await first.aclose()
            await lost(client)
            await client.text("Still there?")
            async with realtime_server(script, port):
                heard = await hear(client, of_type("conversation.item.done"))
                assert heard[-1]["item"]["content"][0]["text"] == "Still there?"
                assert unbroken(heard, session)


async def test_a_connection_that_breaks_at_once_is_tried_again() -> None:
    async with talking(resumable()) as (client, session):
        for number in range(2, 6):
            await session.connections[-1].socket.close(1011)
            await resumed(session, number)
        await client.text("Hello")
        assert unbroken(await hear(client, of_type("conversation.item.done")), session)
        assert [connection.after for connection in session.connections][1:] == ["event_0"] * 4


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


async def test_the_key_and_the_path_are_used_again() -> None:
    async with talking(resumable(api_key="secret"), api_key="secret") as (client, session):
        cut(session)
        await hear(client, of_type(RESUMED))
        assert client.id == session.id


async def test_a_query_of_the_clients_own_is_kept() -> None:
    script = resumable()
    async with realtime_server(script) as url, Parley(f"{url}?timings=true") as client:
        [session] = script.sessions
        cut(session)
        await hear(client, of_type(RESUMED))
        request = session.connections[1].socket.request
        assert request is not None
        assert request.path == "/v1/realtime?timings=true&after=event_0"


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
