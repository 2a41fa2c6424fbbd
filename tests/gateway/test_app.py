"""The gateway as its clients meet it: a real server, real sockets, engines that take no time."""

import asyncio
import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from redis.exceptions import ConnectionError as BrokerConnectionError
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from cli.broker import Broker, bundled_server
from gateway.session import Session
from shared.audio import pcm16
from shared.broker import Pipe
from tests.gateway.realtime_client import RATE, SILENCE, Client, Json, joined, sound
from tests.gateway.running import Gateway, errors, gateway, instant, signed_in, stages
from tests.stages import SOON_S, until

WORDS = {"model": "whisper-1"}
PUSH_TO_TALK = {"audio": {"input": {"turn_detection": None, "transcription": WORDS}}}
TEXT = {"output_modalities": ["text"]}


async def ask_in_words(client: Client, text: str) -> Json:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    await client.send("conversation.item.create", item=item)
    await client.send("response.create")
    done = await client.until("response.done")
    response: Json = done["response"]
    return response


# --- health ---


async def get(running: Gateway, path: str) -> tuple[int, Json]:
    def fetch() -> tuple[int, Json]:
        try:
            with urllib.request.urlopen(f"http://{running.host}{path}") as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as answer:
            return answer.code, json.load(answer)

    return await asyncio.to_thread(fetch)


async def test_health_and_readiness(redis_url: str, pipe: Pipe) -> None:
    settings = instant(redis_url)
    async with gateway(settings) as running:
        status, health = await get(running, "/health")
        assert (status, health["status"]) == (200, "ok")
        nobody = {"status": "not ready", "missing": ["vad", "stt", "llm", "tts"]}
        assert await get(running, "/ready") == (503, nobody)
        async with signed_in(pipe, "stt"), signed_in(pipe, "tts"):
            some = {"status": "not ready", "missing": ["vad", "llm"]}
            assert await get(running, "/ready") == (503, some)
        async with stages(settings):
            assert await get(running, "/ready") == (200, {"status": "ready", "missing": []})


async def test_without_a_broker_clients_are_refused_in_time_and_taken_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.hub._PATIENCE_S", 0.3)
    broker = Broker(bundled_server()[0], tmp_path)
    async with gateway(instant(broker.url)) as running:
        assert (await get(running, "/health"))[0] == 200
        nothing = {"status": "not ready", "missing": ["broker"]}
        assert await get(running, "/ready") == (503, nothing)
        for path in ("/v1/realtime", "/ws"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://{running.host}{path}")
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "1"
        with broker:
            monkeypatch.setattr("gateway.hub._PATIENCE_S", SOON_S)
            async with joined(running) as client:
                assert client.kinds == ["session.created"]
            await until(lambda: running.idle)
    assert errors(caplog) == []


# --- the Realtime protocol ---


async def test_a_session_begins_with_its_configuration(served: Gateway) -> None:
    async with joined(served, "?model=gpt-realtime") as client:
        session = client.seen[0]["session"]
        assert session.pop("parley")["resume"]["within_s"] == 60
        assert session["model"] == "gpt-realtime"
        assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200
        await client.update(instructions="Be brief.")
        assert client.seen[-1]["session"] == {**session, "instructions": "Be brief."}


async def test_the_subprotocol_is_selected_when_it_is_offered(served: Gateway) -> None:
    url = f"ws://{served.host}/v1/realtime"
    offered = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.KEY")]
    async with connect(url, subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
    async with connect(url) as socket:
        assert socket.subprotocol is None


async def test_a_spoken_turn(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        await client.append(sound(0.6))
        await client.append(SILENCE)
        done = await client.until("response.done")
        assert done["response"]["status"] == "completed"
        transcript = next(e for e in client.seen if e["type"].endswith("transcription.completed"))
        answer = done["response"]["output"][0]["content"][0]["transcript"]
        assert answer == f"You said: {transcript['transcript']}. That is all I know about it."
        committed = next(e for e in client.seen if e["type"] == "input_audio_buffer.committed")
        item = next(e["item"] for e in client.seen if e["type"] == "conversation.item.added")
        assert item["id"] == committed["item_id"] == transcript["item_id"]
        added = next(e for e in client.seen if e.get("item", {}).get("role") == "assistant")
        assert added["item"]["status"] == "in_progress"
        samples = [pcm16(base64.b64decode(e["delta"])) for e in audio_deltas(client)]
        assert len(np.concatenate(samples)) > RATE


def audio_deltas(client: Client) -> list[Json]:
    return [e for e in client.seen if e["type"] == "response.output_audio.delta"]


async def test_push_to_talk(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**PUSH_TO_TALK, **TEXT)
        await client.append(sound(0.1))  # exactly the least that can be committed
        await client.send("input_audio_buffer.commit")
        await client.until("conversation.item.input_audio_transcription.completed")
        assert client.seen[-1]["transcript"].startswith("utterance of 1600 samples")
        assert not any("speech" in kind or "response" in kind for kind in client.kinds)
        await client.send("response.create")
        done = await client.until("response.done")
        assert "utterance of 1600 samples" in done["response"]["output"][0]["content"][0]["text"]


async def test_cleared_audio_is_not_committed(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**PUSH_TO_TALK)
        await client.append(sound(0.5))
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.append(sound(0.05))
        await client.send("input_audio_buffer.commit", event_id="mine")
        error = await client.error()
        assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")


async def test_a_written_turn(served: Gateway) -> None:
    async with joined(served, "?timings=true") as client:
        await client.update(**TEXT)
        first = await ask_in_words(client, "Hello?")
        text = first["output"][0]["content"][0]["text"]
        assert text == "You said: Hello?. That is all I know about it."
        assert first["usage"]["output_tokens"] > 0
        marks = (await client.until("parley.timings"))["marks"]
        assert "llm_first_token" in marks
        await ask_in_words(client, "Again?")
        added = [e for e in client.seen if e["type"] == "conversation.item.added"]
        assert [e["previous_item_id"] for e in added] == [
            None,
            *(e["item"]["id"] for e in added[:-1]),
        ]


async def test_one_answer_in_another_modality_and_length(served: Gateway) -> None:
    async with joined(served) as client:
        content = [{"type": "input_text", "text": "Hello?"}]
        item = {"type": "message", "role": "user", "content": content}
        await client.send("conversation.item.create", item=item)
        wishes = {"output_modalities": ["text"], "max_output_tokens": 3}
        await client.send("response.create", response=wishes)
        response = (await client.until("response.done"))["response"]
        assert response["output"][0]["content"] == [
            {"type": "output_text", "text": "You said: Hello?."}
        ]
        assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


ITEM = {"type": "message", "role": "user", "content": []}


# What a client sends, and the code and param of the error that it gets.
MISTAKES: list[tuple[str | bytes | Json, str, str | None]] = [
    ("{", "invalid_json", None),
    (b"\x00\x01", "invalid_value", None),
    ("[1]", "invalid_value", None),
    ({"type": "session.destroy"}, "unknown_event", "type"),
    ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "?"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
    ({"type": "response.cancel"}, "response_cancel_not_active", None),
    (
        {"type": "session.update", "session": {"voice": "ash"}},
        "unknown_parameter",
        "session.voice",
    ),
    (
        {"type": "session.update", "session": {"prompt": {"id": "mine"}}},
        "invalid_value",
        "session.prompt",
    ),
    (
        {"type": "conversation.item.create", "item": ITEM, "previous_item_id": "a"},
        "invalid_value",
        "previous_item_id",
    ),
    (
        {"type": "conversation.item.truncate"}
        | {"item_id": "a", "content_index": 0, "audio_end_ms": 0},
        "item_truncate_invalid_item_id",
        "item_id",
    ),
    (
        {"type": "response.create", "response": {"max_output_tokens": 0}},
        "invalid_value",
        "response.max_output_tokens",
    ),
    (
        {"type": "response.create", "response": {"conversation": "mine"}},
        "invalid_value",
        "response.conversation",
    ),
]


async def test_what_cannot_be_done_is_an_error_and_the_connection_lives(served: Gateway) -> None:
    async with joined(served) as client:
        for sent, code, param in MISTAKES:
            named = isinstance(sent, dict)
            await client.socket.send(
                json.dumps(sent | {"event_id": "mine"}) if isinstance(sent, dict) else sent
            )
            assert await client.error() == {
                "type": "invalid_request_error",
                "code": code,
                "message": client.seen[-1]["error"]["message"],
                "param": param,
                "event_id": "mine" if named else None,
            }
        await client.update(**TEXT)
        assert (await ask_in_words(client, "Still there?"))["status"] == "completed"


async def test_an_item_id_is_taken_once(served: Gateway) -> None:
    async with joined(served) as client:
        for _ in range(2):
            await client.send("conversation.item.create", item=ITEM | {"id": "any form will do"})
        error = await client.error()
        assert error["code"] == "item_create_duplicate_item_id"


async def test_one_response_at_a_time_and_the_client_may_cancel_it(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(audio={"output": {"speed": 0.25}})
        item = ITEM | {"content": [{"type": "input_text", "text": "A long story, please."}]}
        await client.send("conversation.item.create", item=item)
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("response.create", event_id="second")
        error = await client.error()
        assert error["code"] == "conversation_already_has_active_response"
        assert error["event_id"] == "second"
        await client.send(
            "session.update", session={"audio": {"output": {"format": {"type": "audio/pcmu"}}}}
        )
        assert (await client.error())["param"] == "session.audio.output.format"
        await client.send("response.cancel", response_id="resp_other")
        assert (await client.error())["code"] == "response_cancel_not_active"
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        await truncate(client, done["output"][0]["id"])


async def truncate(client: Client, item_id: str) -> None:
    """What clients do after an interruption, within and beyond what they were sent."""
    place = {"item_id": item_id, "content_index": 0}
    for wrong in (
        {"audio_end_ms": 10**30},
        {"audio_end_ms": -1},
        {"audio_end_ms": 10, "content_index": 1},
    ):
        await client.send("conversation.item.truncate", **{**place, **wrong})
        assert (await client.error())["param"] == list(wrong)[-1]
    await client.send("conversation.item.truncate", **place, audio_end_ms=10)
    assert (await client.until("conversation.item.truncated"))["audio_end_ms"] == 10


async def test_a_client_is_told_to_come_back_when_the_broker_goes(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def respond(*_: object, **__: object) -> bool:
        raise BrokerConnectionError("connection refused")

    monkeypatch.setattr(Session, "respond", respond)
    async with gateway(instant(redis_url)) as running:
        async with joined(running) as client:
            await client.send("response.create")
            await client.socket.wait_closed()
            assert client.socket.close_code == 1013
        await until(lambda: running.idle)
