"""What each key may use, over all gateways."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from shared.broker import Pipe
from shared.keys import AccessKeys
from shared.scripts import access as scripts
from tests.gateway.access import ADA, BOB, bearer, connected, keyed, refused
from tests.gateway.realtime_client import Client, resumed
from tests.gateway.running import Gateway, gateway
from tests.stages import until

KEYS = AccessKeys("ada")


@contextlib.asynccontextmanager
async def two_gateways(redis_url: str, **ada: Any) -> AsyncIterator[tuple[Gateway, Gateway]]:
    settings = keyed(redis_url, **ada)
    async with gateway(settings) as one, gateway(settings) as other:
        yield one, other


async def ended(client: Client) -> dict[str, Any]:
    """The error after which the server has closed the connection."""
    error = await client.error()
    with pytest.raises(ConnectionClosed) as closed:
        await client.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000
    return error


async def taken(pipe: Pipe, sessions: int) -> bool:
    return int(await pipe.command("ZCARD", KEYS.sessions)) == sessions


async def test_sessions_at_a_time(redis_url: str, pipe: Pipe) -> None:
    async with (
        two_gateways(redis_url, sessions=2) as (one, other),
        connected(one, bearer(ADA)) as first,
        connected(other, bearer(ADA)),
    ):
        for served in (one, other):
            refusal = await refused(served, bearer(ADA))
            assert refusal.status == 429
            assert int(refusal.headers["Retry-After"]) > 0
            assert "sessions" in refusal.message
        async with connected(one, bearer(BOB)):
            pass
        await first.socket.close()
        await until(lambda: taken(pipe, 1))
        async with connected(other, bearer(ADA)):
            pass


async def test_a_session_that_is_refused_leaves_nothing(redis_url: str, pipe: Pipe) -> None:
    async with two_gateways(redis_url, sessions=1) as (one, _):
        async with connected(one, bearer(ADA)):
            before = await pipe.command("DBSIZE")
            await refused(one, bearer(ADA))
            assert await pipe.command("DBSIZE") == before
        await until(lambda: taken(pipe, 0))
        assert await pipe.command("KEYS", "*sess_*") == []


async def test_a_resumed_session_takes_no_second_place(redis_url: str, pipe: Pipe) -> None:
    async with (
        two_gateways(redis_url, sessions=1) as (one, other),
        connected(one, bearer(ADA), ["realtime"]) as client,
    ):
        created = await client.next()
        async with resumed(other, created["session"], created["event_id"]) as again:
            assert (await again.next())["type"] == "parley.session.resumed"
            await client.socket.wait_closed()
            assert client.socket.close_code == 4001
            await until(lambda: taken(pipe, 1))
            assert (await refused(other, bearer(ADA))).status == 429


async def test_a_waiting_session_makes_room_and_is_resumed_when_there_is_some(
    redis_url: str, pipe: Pipe
) -> None:
    async with two_gateways(redis_url, sessions=1) as (one, other):
        async with connected(one, bearer(ADA), ["realtime"]) as client:
            created = await client.next()
            client.vanish()
        await until(lambda: taken(pipe, 0))
        ticket = (
            f"parley-resume.{created['session']['id']}"
            f".{created['session']['parley']['resume']['token']}"
        )
        async with connected(other, bearer(ADA)):
            path = f"/v1/realtime?after={created['event_id']}"
            refusal = await refused(one, subprotocols=["realtime", ticket], path=path)
            assert refusal.status == 429
        await until(lambda: taken(pipe, 0))
        async with resumed(one, created["session"], created["event_id"]) as again:
            assert (await again.next())["type"] == "parley.session.resumed"


async def test_a_dead_gateways_sessions_free_up(pipe: Pipe) -> None:
    async def take(lease: str, lasts_ms: int) -> bool:
        return await scripts.take_lease(pipe, KEYS.sessions, lease, most=1, lasts_ms=lasts_ms)

    assert await take("lease_1", 200)
    assert await take("lease_1", 200)  # the reply got lost, and it was asked again
    assert not await take("lease_2", 200)
    await until(lambda: take("lease_2", 60_000))
    await scripts.renew_leases(pipe, KEYS.sessions, ["lease_2"], lasts_ms=60_000)
    assert not await take("lease_3", 200)
    await scripts.free_lease(pipe, KEYS.sessions, "lease_2")
    assert await take("lease_3", 200)


async def test_a_session_that_is_too_long_ends(redis_url: str) -> None:
    async with (
        two_gateways(redis_url, session_minutes=0.2 / 60) as (one, _),
        connected(one, bearer(ADA)) as client,
    ):
        error = await ended(client)
        assert error["code"] == "session_expired"
        assert "minutes" in error["message"]


async def test_a_resumed_session_is_as_old_as_it_was(redis_url: str, pipe: Pipe) -> None:
    async with two_gateways(redis_url, session_minutes=30) as (one, other):
        async with connected(one, bearer(ADA), ["realtime"]) as client:
            created = await client.next()
            client.vanish()
        await until(lambda: one.idle)
        [key] = await pipe.command("KEYS", "*owner:sess_*")
        owner = json.loads(await pipe.command("GET", key))
        owner["opened_s"] -= 31 * 60
        await pipe.command("SET", key, json.dumps(owner), "EX", 60)
        async with resumed(other, created["session"], created["event_id"]) as again:
            assert (await ended(again))["code"] == "session_expired"
        await until(lambda: other.idle)


async def test_audio_of_a_day(redis_url: str, pipe: Pipe) -> None:
    async with two_gateways(redis_url, audio_minutes=2 / 60) as (one, other):
        async with connected(one, bearer(ADA)) as client, connected(other, bearer(ADA)) as quiet:
            second = np.zeros(24_000, np.int16)
            await client.append(second)
            await until(lambda: spent(pipe, 900))
            await client.append(second)
            await until(lambda: spent(pipe, 1_900))
            await client.append(second)
            await until(lambda: spent(pipe, 2_900))
            await client.append(second)
            error = await ended(client)
            assert error["code"] == "rate_limit_exceeded"
            assert "audio" in error["message"]
            refusal = await refused(other, bearer(ADA))
            assert refusal.status == 429
            assert 0 < int(refusal.headers["Retry-After"]) <= 86_401
            await quiet.update(type="realtime", output_modalities=["text"])
        async with connected(one, bearer(BOB)) as client:
            await client.append(second)


async def spent(pipe: Pipe, audio_ms: int) -> bool:
    return int(await pipe.command("GET", KEYS.audio) or 0) >= audio_ms


async def test_audio_over_the_original_protocol_counts(redis_url: str, pipe: Pipe) -> None:
    async with (
        two_gateways(redis_url, audio_minutes=0.5 / 60) as (one, _),
        connected(one, bearer(ADA), path="/ws") as client,
    ):
        await client.socket.send(bytes(32_000))
        await until(lambda: spent(pipe, 1_000))
        await client.socket.send(bytes(32_000))
        await client.socket.wait_closed()
        assert client.socket.close_code == 1000
        assert "audio" in (client.socket.close_reason or "")


async def test_requests_a_second(redis_url: str) -> None:
    async with two_gateways(redis_url, requests_per_s=0.2) as (one, other):
        async with connected(one, bearer(ADA)) as client, connected(other, bearer(ADA)) as also:
            await client.update(type="realtime", output_modalities=["text"])
            await client.append(np.zeros(2_400, np.int16))
            await also.update(type="realtime", output_modalities=["text"])
            await client.send("session.update", event_id="e1", session={"type": "realtime"})
            error = await client.error()
            assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "e1")
            await also.socket.send("no JSON")
            assert (await also.error())["code"] == "rate_limit_exceeded"
            await client.append(np.zeros(2_400, np.int16))
        async with connected(one, bearer(BOB)) as client:
            for _ in range(5):
                await client.update(type="realtime", output_modalities=["text"])


async def test_the_rate_is_that_of_the_key(pipe: Pipe) -> None:
    rates = [await scripts.take_request(pipe, KEYS.rate, per_s=5, burst=3) for _ in range(4)]
    assert [rate.allowed for rate in rates] == [True, True, True, False]
    assert [rate.remaining for rate in rates[:3]] == [2, 1, 0]
    assert 0 < rates[3].wait_ms <= 200

    async def allowed() -> bool:
        return (await scripts.take_request(pipe, KEYS.rate, per_s=5, burst=3)).allowed

    await until(allowed)


async def test_what_a_key_used_has_an_end(pipe: Pipe) -> None:
    first = await scripts.spend_audio(pipe, KEYS.audio, 1_500)
    second = await scripts.spend_audio(pipe, KEYS.audio, 500)
    assert (first.audio_ms, second.audio_ms) == (1_500, 2_000)
    assert 0 <= await pipe.command("TTL", KEYS.audio) <= second.left_s <= 86_400
