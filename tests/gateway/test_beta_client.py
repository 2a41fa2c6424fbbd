"""A client of the beta has a conversation: every event is one that its types define."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from openai.types.beta.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.gateway.realtime_client import RATE, SILENCE, sound
from tests.gateway.running import Gateway
from tests.stages import SOON_S

Json = dict[str, Any]

EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
# The types of the beta know no other models.
MODEL = "?model=gpt-4o-realtime-preview"
HEADERS = {"OpenAI-Beta": "realtime=v1"}
LOOK_UP = {"type": "function", "name": "look_up", "description": "d", "parameters": {}}


@contextlib.asynccontextmanager
async def joined(served: Gateway, query: str = MODEL) -> AsyncIterator[ClientConnection]:
    url = f"ws://{served.host}/v1/realtime{query}"
    async with connect(url, additional_headers=HEADERS, max_queue=None) as socket:
        yield socket


async def send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


async def hear(socket: ClientConnection, last: str) -> list[Json]:
    """The events up to the next of type `last`."""
    events: list[Json] = []
    async with asyncio.timeout(SOON_S):
        while not events or events[-1]["type"] != last:
            events.append(json.loads(await socket.recv()))
            assert "event_id" in events[-1]
            if not events[-1]["type"].startswith("transcription_session."):
                EVENT.validate_python(events[-1])
    return events


def in_order(events: list[Json], *expected: str) -> bool:
    """Whether these types come in this order, whatever is between them."""
    kinds = iter(event["type"] for event in events)
    return all(kind in kinds for kind in expected)


async def test_a_spoken_turn(served: Gateway) -> None:
    async with joined(served) as socket:
        created, conversation = await hear(socket, "conversation.created")
        assert created["session"]["input_audio_format"] == "pcm16"
        await send(
            socket,
            "session.update",
            session={
                "modalities": ["text", "audio"],
                "voice": "alloy",
                "input_audio_transcription": {"model": "whisper-1"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 200},
                "temperature": 0.8,
            },
        )
        updated = (await hear(socket, "session.updated"))[-1]["session"]
        assert (updated["voice"], updated["modalities"]) == ("alloy", ["audio", "text"])
        spoken = np.concatenate([sound(0.6), SILENCE])
        audio = base64.b64encode(spoken.tobytes()).decode()
        await send(socket, "input_audio_buffer.append", audio=audio)
        events = await hear(socket, "response.done")
    assert in_order(
        events,
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio_transcript.delta",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    )
    response = events[-1]["response"]
    assert response["conversation_id"] == conversation["conversation"]["id"]
    assert response["output"][0]["content"][0]["type"] == "audio"
    deltas = [event["delta"] for event in events if event["type"] == "response.audio.delta"]
    assert sum(len(base64.b64decode(delta)) for delta in deltas) > RATE


async def test_a_written_turn_with_a_history(served: Gateway) -> None:
    async with joined(served) as socket:
        await hear(socket, "conversation.created")
        for role, kind, text in (("assistant", "text", "Hi."), ("user", "input_text", "Bye?")):
            item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
            await send(socket, "conversation.item.create", item=item)
            shown = (await hear(socket, "conversation.item.created"))[-1]["item"]
            assert shown["content"][0]["type"] == kind
        wishes = {"modalities": ["text"], "max_response_output_tokens": 50}
        await send(socket, "response.create", response=wishes)
        events = await hear(socket, "response.done")
    assert in_order(events, "response.text.delta", "response.text.done", "response.done")
    assert events[-1]["response"]["output"][0]["content"][0]["type"] == "text"


async def test_errors_name_the_beta_s_fields(served: Gateway) -> None:
    async with joined(served) as socket:
        for session, param in (
            ({"temperature": 0.7}, "session.temperature"),
            ({"voice": 5}, "session.voice"),
            ({"modalities": []}, "session.modalities"),
            ({"max_response_output_tokens": 0}, "session.max_response_output_tokens"),
            ({"input_audio_format": "mp3"}, "session.input_audio_format"),
            (
                {"turn_detection": {"type": "server_vad", "threshold": 2.5}},
                "session.turn_detection.threshold",
            ),
            (
                {"input_audio_transcription": {"model": 5}},
                "session.input_audio_transcription.model",
            ),
            ({"tools": [LOOK_UP, LOOK_UP]}, "session.tools.1.name"),
        ):
            await send(socket, "session.update", event_id="mine", session=session)
            error = (await hear(socket, "error"))[-1]["error"]
            assert (error["param"], error["event_id"]) == (param, "mine")
            assert param in error["message"]


async def test_a_browser_asks_for_it_by_subprotocol(served: Gateway) -> None:
    offered = [Subprotocol("realtime"), Subprotocol("openai-beta.realtime-v1")]
    url = f"ws://{served.host}/v1/realtime{MODEL}"
    async with connect(url, subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
        assert len(await hear(socket, "conversation.created")) == 2


async def test_a_session_that_only_transcribes(served: Gateway) -> None:
    async with joined(served, "?intent=transcription") as socket:
        (created,) = await hear(socket, "transcription_session.created")
        assert created["session"]["input_audio_transcription"]["model"]
        await send(
            socket,
            "transcription_session.update",
            session={"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}},
        )
        await hear(socket, "transcription_session.updated")
        audio = base64.b64encode(np.concatenate([sound(0.6), SILENCE]).tobytes()).decode()
        await send(socket, "input_audio_buffer.append", audio=audio)
        await hear(socket, "conversation.item.input_audio_transcription.completed")
