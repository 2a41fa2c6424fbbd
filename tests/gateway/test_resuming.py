"""A client that was cut off goes on with its session: what it missed comes once, and in order."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from shared.audio import Int16, pcm16
from shared.settings import Settings
from tests.gateway.realtime_client import RATE, SILENCE, Client, Json, joined, resumed, sound
from tests.gateway.running import Gateway, gateway
from tests.stages import until

TURN = np.concatenate([sound(0.6), SILENCE])


def audio_of(events: list[Json]) -> Int16:
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    return pcm16(b"".join(map(base64.b64decode, deltas)))


def text_of(events: list[Json]) -> str:
    kind = "response.output_audio_transcript.delta"
    return "".join(event["delta"] for event in events if event["type"] == kind)


def outline(events: list[Json]) -> list[str]:
    """The kinds of events in order, those that come in pieces once."""
    kinds = [e["type"] for e in events if e["type"] != "parley.session.resumed"]
    pieces = ("response.output_audio.delta", "response.output_audio_transcript.delta")
    return [kind for kind in kinds if kind not in pieces]


async def broken_up(served: Gateway, first: Client, events: int) -> AsyncGenerator[Json, None]:
    """The rest of a session's events, the connection breaking after every few of them."""
    session, last = first.seen[0]["session"], first.seen[-1]["event_id"]
    first.vanish()
    while True:
        async with resumed(served, session, last) as client:
            assert (await client.next())["type"] == "parley.session.resumed"
            for _ in range(events):
                event = await client.next()
                last = event["event_id"]
                yield event
            client.vanish()


async def until_done(served: Gateway, client: Client, events: int) -> list[Json]:
    async with aclosing(broken_up(served, client, events)) as rest:
        async for event in rest:
            client.seen.append(event)
            if event["type"] == "response.done":
                break
    return client.seen


async def say_goodbye(served: Gateway, seen: list[Json]) -> None:
    """Ends the session as a client does that is connected."""
    async with resumed(served, seen[0]["session"], seen[-1]["event_id"]) as client:
        await client.next()


@pytest.mark.parametrize("events", [1, 2, 5])
async def test_a_turn_is_whole_however_often_the_connection_breaks(
    served: Gateway, events: int
) -> None:
    async with joined(served) as whole:
        await whole.append(TURN)
        await whole.until("response.done")
    async with joined(served) as client:
        await client.append(TURN)
        await client.until("input_audio_buffer.committed")
        seen = await until_done(served, client, events)
        await say_goodbye(served, seen)
    assert outline(seen) == outline(whole.seen)
    assert text_of(seen) == text_of(whole.seen)
    assert np.array_equal(audio_of(seen), audio_of(whole.seen))
    ids = [event["event_id"] for event in seen]
    assert len(set(ids)) == len(ids)


async def test_a_response_cut_off_by_the_client_ends_once(served: Gateway) -> None:
    async with joined(served) as client:
        await client.append(TURN)
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        seen = await until_done(served, client, 1)
        await say_goodbye(served, seen)
    assert seen[-1]["response"]["status"] in ("cancelled", "completed")
    assert client.kinds.count("response.done") == 1


async def test_a_request_whose_answer_was_lost_is_not_made_twice(served: Gateway) -> None:
    async with joined(served) as client:
        await client.send("session.update", session={"instructions": "Be brief."})
        await client.until("session.updated")
        session, first = client.seen[0]["session"], client.seen[0]["event_id"]
        client.vanish()
    # the client says that it saw nothing of it
    async with resumed(served, session, first) as client:
        greeting = await client.next()
        assert greeting["requests"] == 1
        assert greeting["session"]["instructions"] == "Be brief."
        assert (await client.next())["type"] == "session.updated"
        item = {"type": "message", "role": "user", "content": []}
        await client.send("conversation.item.create", item=item)
        await client.until("conversation.item.done")
    assert client.kinds.count("session.updated") == 1


async def test_audio_sent_again_is_heard_once(served: Gateway) -> None:
    async with joined(served) as whole:
        await whole.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        await whole.append(TURN)
        heard = await whole.until("conversation.item.input_audio_transcription.completed")
    half = RATE * 3 // 10
    async with joined(served) as client:
        await client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        await client.append(TURN[:half])
        await client.until("input_audio_buffer.speech_started")
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        client.vanish()
    async with resumed(served, session, last) as client:
        start = (await client.next())["audio_ms"]
        assert 0 <= start <= 300
        await client.append(TURN[start * RATE // 1000 :])
        again = await client.until("conversation.item.input_audio_transcription.completed")
    assert again["transcript"].split()[:4] == heard["transcript"].split()[:4]  # as many samples
    assert client.kinds.count("input_audio_buffer.committed") == 1
    assert "input_audio_buffer.speech_started" not in client.kinds


async def test_push_to_talk_is_committed_once(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(audio={"input": {"turn_detection": None}})
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        await client.append(sound(0.6))
        await client.send("input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        client.vanish()
    # the client says that it saw nothing of it
    async with resumed(served, session, last) as client:
        greeting = await client.next()
        assert greeting["requests"] == 1
        await client.append(sound(0.6)[greeting["audio_ms"] * RATE // 1000 :])
        await client.send("input_audio_buffer.commit")
        await client.append(sound(0.3))
        await client.send("input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        await client.until("input_audio_buffer.committed")
    assert "error" not in client.kinds


async def test_another_gateway_goes_on_with_the_session(served: Gateway, redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, profile="instant", lanes=2, silence_ms=200)
    async with gateway(settings) as other, joined(served) as client:
        await client.append(TURN)
        await client.until("response.created")
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        async with resumed(other, session, last) as elsewhere:
            await elsewhere.until("response.done")
            with pytest.raises(ConnectionClosed):
                await client.until("an event that never comes")
            assert client.socket.close_code == 4001
            await elsewhere.append(TURN)
            await elsewhere.until("response.done")
        await until(lambda: other.idle)


async def test_who_resumes_where_it_is_connected_leaves_the_old_connection(
    served: Gateway,
) -> None:
    async with joined(served) as client:
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        async with resumed(served, session, last) as again:
            with pytest.raises(ConnectionClosed):
                await client.next()
            assert client.socket.close_code == 4001
            await again.append(TURN)
            await again.until("response.done")


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"token": "guess"}, 403, "the token is not this session's"),
        ({"id": "sess_other"}, 404, "the session has ended"),
        ({"after": "event_1"}, 400, "after must be the id of an event"),
        ({"after": "event_0-0_0_0_0_0_0; DROP"}, 400, "after must be the id of an event"),
    ],
)
async def test_who_cannot_go_on_is_told_why(
    served: Gateway, change: Json, status: int, reason: str
) -> None:
    async with joined(served) as client:
        session = {**client.seen[0]["session"], **change}
        after = str(change.get("after", client.seen[-1]["event_id"]))
        with pytest.raises(InvalidStatus) as refused:
            async with resumed(served, session, after, token=change.get("token")):
                pass
        assert refused.value.response.status_code == status
        assert reason in refused.value.response.body.decode()
        # nobody else is harmed
        await client.update(instructions="Be kind.")


async def test_a_token_is_written_to_no_log(
    served: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with joined(served) as client:
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        async with resumed(served, session, last) as again:
            await again.next()
    assert session["parley"]["resume"]["token"] not in caplog.text


async def test_who_lags_too_far_behind_cannot_go_on(served: Gateway) -> None:
    async with joined(served) as client:
        for _ in range(3):
            await client.append(TURN)
            await client.until("response.done")
        session, first = client.seen[0]["session"], client.seen[0]["event_id"]
        with pytest.raises(InvalidStatus) as refused:
            async with resumed(served, session, first):
                pass
        assert refused.value.response.status_code == 404
        assert b"lags too far behind" in refused.value.response.body
        # and has not lost the connection it has
        await client.append(TURN)
        await client.until("response.done")
