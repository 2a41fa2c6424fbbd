"""The client library against a scripted Realtime server."""

import asyncio
import itertools
import socket

import numpy as np
import pytest

from client import Event, Parley, ParleyError, ServerError, frames, silence
from client.handshake import realtime_url
from tests.client.realtime_server import Script, realtime_server

SPEECH = np.full(24_000 // 5, 1_000, np.int16)


async def until(session: Parley, kind: str) -> list[Event]:
    """Events up to and including the first of type `kind`."""
    seen = []
    async for event in session.events():
        seen.append(event)
        if event.type == kind:
            return seen
    raise AssertionError(f"no {kind} came, but {[event.type for event in seen]}")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/realtime"),
        ("http://127.0.0.1:8080/", "ws://127.0.0.1:8080/v1/realtime"),
        ("https://voice.example?model=x", "wss://voice.example/v1/realtime?model=x"),
        ("wss://voice.example/api/realtime", "wss://voice.example/api/realtime"),
    ],
)
def test_addresses(given: str, expected: str) -> None:
    assert realtime_url(given) == expected


@pytest.mark.parametrize("given", ["127.0.0.1:8080", "localhost", "ftp://voice.example", ""])
def test_other_addresses_are_refused(given: str) -> None:
    with pytest.raises(ParleyError, match=r"url must look like ws://127\.0\.0\.1:8080, not"):
        Parley(given)


async def test_a_spoken_turn() -> None:
    script = Script()
    async with realtime_server(script) as url, Parley(url) as session:
        await session.update(
            audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 100}}}
        )
        await until(session, "session.updated")
        await session.stream_audio(itertools.chain(frames(SPEECH), itertools.islice(silence(), 6)))
        events = await until(session, "response.done")
    kinds = [event.type for event in events]
    assert kinds[0] == "input_audio_buffer.speech_started"
    assert kinds.index("input_audio_buffer.speech_stopped") < kinds.index("response.created")
    audio = [event.audio for event in events if event.type == "response.output_audio.delta"]
    assert np.array_equal(np.concatenate(audio), script.audio)
    deltas = [event for event in events if event.type == "response.output_audio_transcript.delta"]
    assert "".join(event["delta"] for event in deltas) == "It is Paris."
    assert {event.response_id for event in deltas} == {events[-1].response_id}


async def test_push_to_talk() -> None:
    async with realtime_server(Script()) as url, Parley(url) as session:
        await session.update(audio={"input": {"turn_detection": None}})
        await session.send_audio(SPEECH)
        await session.commit()
        transcribed = "conversation.item.input_audio_transcription.completed"
        assert (await until(session, transcribed))[-1]["transcript"] == Script().hears
        await session.create_response()
        assert (await until(session, "response.done"))[-1]["response"]["status"] == "completed"


async def test_text_in() -> None:
    async with realtime_server(Script()) as url, Parley(url) as session:
        await session.text("What is the capital of France?")
        item = (await until(session, "conversation.item.done"))[-1]["item"]
        assert item["content"] == [{"type": "input_text", "text": "What is the capital of France?"}]
        await session.create_response(output_modalities=["audio"])
        await until(session, "response.done")


async def test_errors_are_events_and_the_session_lives() -> None:
    async with realtime_server(Script()) as url, Parley(url) as session:
        await session.commit()
        error = (await until(session, "error"))[-1].error
        assert isinstance(error, ServerError)
        assert error.code == "input_audio_buffer_commit_empty"
        assert "100 ms" in str(error)
        await session.update(
            audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": "?"}}}
        )
        error = (await until(session, "error"))[-1].error
        assert error is not None
        assert error.param == "session.audio.input.turn_detection.silence_duration_ms"
        await session.clear()
        assert (await until(session, "input_audio_buffer.cleared"))[-1].error is None


async def test_cancelling() -> None:
    async with realtime_server(Script(paused=True)) as url, Parley(url) as session:
        await session.create_response()
        await until(session, "response.output_audio.delta")
        await session.cancel()
        done = (await until(session, "response.done"))[-1]
        assert done["response"]["status"] == "cancelled"
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        await session.cancel(done.response_id)
        error = (await until(session, "error"))[-1].error
        assert error is not None
        assert error.code == "response_cancel_not_active"


async def test_the_key_is_sent_and_a_refusal_is_one_sentence() -> None:
    async with realtime_server(Script(api_key="secret")) as url:
        async with Parley(url, api_key="secret") as session:
            await until(session, "session.created")
        with pytest.raises(ParleyError, match=r"refused: HTTP 401 Unauthorized \(api key expected"):
            await Parley(url, api_key="wrong").__aenter__()
        with pytest.raises(ParleyError, match="refused: HTTP 404 Not Found"):
            await Parley(url + "/elsewhere", api_key="secret").__aenter__()


async def test_nobody_listening_is_one_sentence() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ParleyError, match=f"no server answers at {url}/v1/realtime"):
            await Parley(url).__aenter__()


async def test_something_else_listening_is_one_sentence() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ParleyError, match="is not a WebSocket server"):
            await Parley(f"ws://127.0.0.1:{port}").__aenter__()


async def test_a_broken_connection_is_one_sentence() -> None:
    async with realtime_server(Script(breaks_at="response.created")) as url:
        session = await Parley(url).__aenter__()
        await session.create_response()
        with pytest.raises(ParleyError, match="the server closed the connection: it broke off"):
            await until(session, "response.created")
        with pytest.raises(ParleyError, match="the server closed the connection"):
            await session.create_response()


async def test_closing_ends_the_events() -> None:
    async with realtime_server(Script()) as url, Parley(url) as session:
        await until(session, "session.created")
        await session.close()
        assert [event async for event in session.events()] == []


async def test_using_a_session_before_it_is_connected() -> None:
    with pytest.raises(ParleyError, match="not connected: use `async with Parley"):
        await Parley("ws://127.0.0.1:8080").commit()


@pytest.mark.parametrize("message", ["", "[]", "{}", "not json", b"\xff"])
def test_what_is_no_event_is_refused(message: str | bytes) -> None:
    with pytest.raises(ParleyError, match="the server must send JSON objects with a type"):
        Event.parse(message)
