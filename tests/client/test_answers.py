"""Whole answers, made of events."""

import json
from pathlib import Path

import numpy as np
import pytest

from client import SAMPLE_RATE, Answer, Call, Event, Parley, ParleyError, ServerError
from client.answers import Listener
from shared.audio import read_wav
from tests.client.realtime_server import Script, realtime_server
from tests.client.talking import talking

FUNCTION = {
    "id": "item_2",
    "type": "function_call",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Paris"}',
}


def done(status: str = "completed", output: list[object] | None = None, **details: object) -> Event:
    response = {
        "id": "resp_1",
        "status": status,
        "status_details": details or None,
        "output": output or [],
    }
    return Event.parse(json.dumps({"type": "response.done", "response": response}))


async def test_an_answer_is_all_of_a_response() -> None:
    script = Script()
    async with talking(script) as (client, _):
        await client.create_response()
        answer = await client.answer()
        assert (answer.text, answer.heard, answer.calls) == ("It is Paris.", "", [])
        assert (answer.status, answer.reason) == ("completed", None)
        assert np.array_equal(answer.audio, script.audio)
        await client.create_response()
        assert len((await client.answer()).audio) == len(script.audio)


def test_an_answer_is_kept_as_a_file(tmp_path: Path) -> None:
    spoken = Answer("", "Hm.", np.arange(480, dtype=np.int16), [], "completed", None)
    spoken.save(tmp_path / "answer.wav")
    samples, rate = read_wav(tmp_path / "answer.wav")
    assert rate == SAMPLE_RATE
    assert np.array_equal(samples, spoken.audio)


async def test_an_answer_that_is_cancelled_is_an_answer() -> None:
    async with talking(Script(paused=True)) as (client, _):
        await client.create_response()
        async for event in client.events():
            if event.type == "response.output_audio.delta":
                await client.cancel()
                break
        answer = await client.answer()
        assert (answer.status, answer.reason) == ("cancelled", "client_cancelled")
        assert answer.text == "It"


def test_a_question_that_goes_on_is_answered_once() -> None:
    listener = Listener()
    at = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    sound = {"type": "response.output_audio.delta", **at, "delta": "AQACAA=="}
    listener.take(Event.parse(json.dumps(sound)))
    assert listener.take(done("cancelled", reason="turn_detected")) is None
    assert not listener._audio  # it may be long until the user pauses
    assert listener.take(done()) is not None


def test_functions_that_are_called() -> None:
    answer = Listener().take(done(output=[FUNCTION]))
    assert answer is not None
    assert answer.calls == [Call("call_1", "weather", {"city": "Paris"})]
    assert answer.text == ""
    with pytest.raises(ParleyError, match="the arguments of weather must be JSON, not "):
        Listener().take(done(output=[{**FUNCTION, "arguments": "{"}]))


async def test_what_a_function_returns_is_an_item() -> None:
    async with talking(Script()) as (client, session):
        await client.returned(Call("call_1", "weather", {}), {"sky": "clear"})
        async for event in client.events():
            if event.type == "conversation.item.done":
                break
        [request] = session.requests
        assert request["item"]["type"] == "function_call_output"
        assert request["item"]["call_id"] == "call_1"
        assert json.loads(request["item"]["output"]) == {"sky": "clear"}


async def test_what_goes_wrong_is_raised() -> None:
    async with talking(Script()) as (client, _):
        await client.commit()
        with pytest.raises(ServerError, match="100 ms of audio"):
            await client.answer()
    async with talking(Script(status="failed")) as (client, _):
        await client.create_response()
        with pytest.raises(ParleyError, match="the response failed: llm failed on every attempt"):
            await client.answer()
    failed = {"item_id": "item_1", "content_index": 0, "error": {"message": "stt failed"}}
    kind = "conversation.item.input_audio_transcription.failed"
    with pytest.raises(ParleyError, match="recognition failed: stt failed"):
        Listener().take(Event.parse(json.dumps({"type": kind, **failed})))


async def test_no_answer_is_not_waited_for_without_end() -> None:
    async with realtime_server(Script()) as url, Parley(url) as client:
        with pytest.raises(ParleyError, match=r"no answer within 0\.05 s"):
            await client.answer(timeout_s=0.05)
        await client.close()
        with pytest.raises(ParleyError, match="ended before it was answered"):
            await client.answer()
