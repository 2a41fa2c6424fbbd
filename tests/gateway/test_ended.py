"""Sessions that somebody ends from outside, as `parley sessions close` does."""

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

from shared.broker import Pipe
from shared.scripts import sessions
from tests.gateway.realtime_client import joined, resumed, sound
from tests.gateway.running import Gateway
from tests.stages import KEYSPACE, until

REASON = "the session was ended by an operator"


async def heard_out(socket: ClientConnection) -> None:
    """Receives until the connection is closed."""
    while True:
        await socket.recv()


async def test_its_client_is_told_and_its_gateway_lets_go(served: Gateway, pipe: Pipe) -> None:
    async with joined(served) as client:
        await client.append(sound(0.6))
        await client.until("input_audio_buffer.speech_started")
        keys = KEYSPACE.session(client.seen[0]["session"]["id"])
        assert await sessions.end_session(pipe, keys, REASON) == "ok"
        with pytest.raises(ConnectionClosedOK) as closed:
            await client.until("the end of the world")
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, REASON)
    await until(lambda: served.idle)

    async def forgotten() -> bool:
        lane = KEYSPACE.lane(keys.session_id)
        return not await pipe.command("HEXISTS", lane.checkpoint, keys.session_id)

    await until(forgotten)


async def test_nobody_goes_on_with_it(served: Gateway, pipe: Pipe) -> None:
    async with joined(served) as client:
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        client.vanish()
    keys = KEYSPACE.session(session["id"])

    async def let_go() -> bool:
        return await pipe.command("HGET", keys.state, "gateway") is None

    await until(let_go)
    assert await pipe.command("TTL", keys.state) > 0
    assert await sessions.end_session(pipe, keys, REASON) == "ok"
    with pytest.raises(Exception, match="404"):
        async with resumed(served, session, last):
            pass


async def test_clients_of_the_original_endpoint_are_told_too(served: Gateway, pipe: Pipe) -> None:
    async with connect(f"ws://{served.host}/ws") as socket:
        await socket.send(sound(0.6, 16_000).tobytes())

        async def opened() -> bool:
            return bool(await pipe.command("KEYS", "parley:{0}:session:*"))

        await until(opened)
        [state] = await pipe.command("KEYS", "parley:{0}:session:*")
        keys = KEYSPACE.session(state.decode().rpartition(":")[2])
        assert await sessions.end_session(pipe, keys, REASON) == "ok"
        with pytest.raises(ConnectionClosed) as closed:
            await heard_out(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.reason == REASON
