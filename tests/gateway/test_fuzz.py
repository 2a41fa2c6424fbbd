"""Malformed frames at a running gateway: each is answered once, with what is wrong with it, and
whoever talks beside them notices nothing. `python -m bench.fuzz` throws far more of them.

The fixture `served` looks after what is left of it all, and after errors in the log.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bench.chaos.broker_view import BrokerView
from bench.chaos.script import SILENCE_MS
from bench.fuzz import campaign, wire
from bench.fuzz.campaign import Plan
from bench.fuzz.frames import burst
from bench.fuzz.neighbours import Neighbours
from bench.fuzz.tally import Tally
from bench.fuzz.thrower import Thrower
from shared.broker import Pipe
from shared.keys import Keyspace
from tests.gateway.realtime_client import SILENCE, joined, resumed, sound
from tests.gateway.running import Gateway, gateway, instant, stages

pytestmark = pytest.mark.usefixtures("sessions_that_wait_three_seconds")

FRAMES = 600

# Hypothesis draws all that is random; a session of a test's is good for all of its examples.
drawn = given(dice=st.randoms(use_true_random=False))
examples = settings(
    max_examples=25,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def neighbourly(redis_url: str) -> AsyncIterator[Gateway]:
    """A server in which turns end as a neighbour expects it."""
    config = instant(redis_url).model_copy(update={"silence_ms": SILENCE_MS})
    async with stages(config), gateway(config) as running:
        yield running


@examples
@drawn
async def test_every_frame_is_answered_once(served: Gateway, dice: random.Random) -> None:
    told: list[str] = []
    async with connect(f"ws://{served.host}/v1/realtime", max_queue=None) as socket:
        await Thrower(socket, Tally(told.append)).throw(burst(dice, ["root"]))
    assert told == [], "\n".join(told)


@examples
@drawn
async def test_nothing_below_the_events_does_harm(served: Gateway, dice: random.Random) -> None:
    data, _ = dice.choice([wire.request, wire.frames, wire.secret])(dice, served.host)
    assert not (await wire.throw(served.host, data, dice)).startswith(b"HTTP/1.1 5")
    async with joined(served) as client:
        assert client.kinds == ["session.created"]


@pytest.mark.parametrize("path", ["/health", "/nowhere"])
async def test_a_request_that_breaks_off_in_its_body_is_refused(served: Gateway, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: {served.host}\r\nTransfer-Encoding: chunked\r\n\r\n"
    address, _, port = served.host.partition(":")
    for body in (b"ZZ\r\n", b"1\r\naZZ"):
        reader, writer = await asyncio.open_connection(address, int(port))
        writer.write(head.encode() + body)
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
    reader, writer = await asyncio.open_connection(address, int(port))
    writer.write(head.encode())
    assert b" 40" in await reader.readline()
    writer.write(b"ZZ\r\n")
    assert b" 400 " not in await reader.read()
    writer.close()


async def test_an_origin_that_is_no_address_may_not_connect(served: Gateway) -> None:
    for origin in ("http://[", "http://]:1", "\x00", ""):
        data = wire.handshake(served.host, Origin=origin)
        answer = await wire.throw(served.host, data, random.Random(3))
        assert answer.split(b" ")[1] in (b"400", b"403"), origin


async def test_frames_may_break_the_protocol_before_the_handshake_is_answered(
    served: Gateway,
) -> None:
    address, _, port = served.host.partition(":")
    for turns in range(30):
        reader, writer = await asyncio.open_connection(address, int(port))
        writer.write(wire.handshake(served.host))
        for _ in range(turns):  # of the event loop, of which the answer needs a few
            await asyncio.sleep(0)
        writer.write(b"\xff" * 20)
        await reader.read(1)
        writer.transport.abort()


async def test_a_session_goes_on_from_any_place_or_refuses_to(served: Gateway) -> None:
    for place in ("99999999999999999999-0", f"{2**64 - 1}-{2**64 - 1}", "0-0"):
        after = f"event_{place}_999999999999999_999999999999999_9_999999999999999_9"
        async with joined(served) as client:
            await client.append(np.concatenate([sound(0.6), SILENCE]))
            await client.until("response.done")
            session = client.seen[0]["session"]
            client.vanish()
        with contextlib.suppress(InvalidStatus):
            async with resumed(served, session, after) as client:
                await client.until("parley.session.resumed")
                await client.send("response.cancel", event_id="mine")
                assert (await client.error())["event_id"] == "mine"


async def test_a_session_beside_them_notices_nothing(neighbourly: Gateway, pipe: Pipe) -> None:
    told: list[str] = []
    tally, enough = Tally(told.append), asyncio.Event()
    config = neighbourly.hub.settings
    view = BrokerView(pipe, Keyspace(config.shards, config.lanes))
    neighbours = Neighbours(f"ws://{neighbourly.host}", view, 1, tally.wrong)
    tally.neighbours_ids = lambda: neighbours.ids
    talking = asyncio.create_task(neighbours.talk(enough))
    plan = Plan(seed=1, frames=FRAMES, throwers=4, rounds=1, neighbours=1, alone_s=0)
    await campaign.throw(neighbourly.host, plan, tally, FRAMES)
    enough.set()
    await talking
    assert told == [], "\n".join(told)
    assert neighbours.turns > 0
