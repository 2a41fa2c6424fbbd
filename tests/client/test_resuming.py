"""A session outlives its connections: the client against a server that loses them by script."""

import asyncio
import base64
import contextlib
import random
from collections import deque
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest

from client import Parley, handshake
from client import connection as transport
from shared.audio import Int16
from tests.client.realtime_server import realtime_server
from tests.client.talking import (
    RESUMED,
    SECOND,
    cut,
    hear,
    lost,
    of_type,
    resumable,
    resumed,
    talking,
    unbroken,
)
from tests.stages import until
from tests.support.up import free_port


def audio(received: list[dict[str, Any]]) -> Int16:
    sent = [event["audio"] for event in received if event["type"] == "input_audio_buffer.append"]
    return np.frombuffer(b"".join(base64.b64decode(part) for part in sent), "<i2")


def order(received: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in received]


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


async def test_events_that_nobody_reads_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_UNREAD", 3)
    async with talking(resumable()) as (client, session):
        await client.text("Hello")
        await client.create_response()
        await until(lambda: session.shown[-1]["type"] == "response.done")
        cut(session)
        await lost(client)
        await client.send_audio(SECOND)
        heard = await hear(client, of_type("response.done"))
        assert unbroken(heard, session)
        await until(lambda: len(session.heard) == len(SECOND))


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
