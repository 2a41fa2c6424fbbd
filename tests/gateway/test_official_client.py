"""The official `openai` package talks to the gateway."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from shared.audio import Int16
from tests.gateway.realtime_client import RATE, SILENCE, sound
from tests.gateway.running import Gateway
from tests.stages import SOON_S


@contextlib.asynccontextmanager
async def official(served: Gateway) -> AsyncIterator[AsyncRealtimeConnection]:
    client = AsyncOpenAI(base_url=f"http://{served.host}/v1", api_key="x")
    async with client, client.realtime.connect(model="parley") as connection:
        yield connection


async def speak(connection: AsyncRealtimeConnection, samples: Int16) -> None:
    for start in range(0, len(samples), RATE // 10):
        audio = base64.b64encode(samples[start : start + RATE // 10].tobytes()).decode()
        await connection.input_audio_buffer.append(audio=audio)


async def hear(connection: AsyncRealtimeConnection, last: str) -> list[Any]:
    """The events up to the next of type `last`."""
    events: list[Any] = []
    async with asyncio.timeout(SOON_S):
        async for event in connection:
            events.append(event)
            if event.type == last:
                return events
    raise AssertionError(f"the connection ended before {last}")


async def test_the_official_client_has_a_spoken_turn(served: Gateway) -> None:
    async with official(served) as connection:
        heard: Any = {"input": {"transcription": {"model": "whisper-1"}}}
        await connection.session.update(session={"type": "realtime", "audio": heard})
        await speak(connection, np.concatenate([sound(0.6), SILENCE]))
        events = await hear(connection, "response.done")
    by_type = {event.type: event for event in events}
    said = by_type["conversation.item.input_audio_transcription.completed"].transcript
    answer = by_type["response.output_audio_transcript.done"].transcript
    assert answer == f"You said: {said}. That is all I know about it."
    deltas = [event.delta for event in events if event.type == "response.output_audio.delta"]
    assert sum(len(base64.b64decode(delta)) for delta in deltas) > 2 * RATE
    assert by_type["response.done"].response.status == "completed"


async def test_the_official_client_interrupts_and_the_conversation_goes_on(
    served: Gateway,
) -> None:
    async with official(served) as connection:
        await connection.session.update(
            session={"type": "realtime", "audio": {"output": {"speed": 0.25}}}
        )
        await speak(connection, np.concatenate([sound(0.6), SILENCE]))
        await hear(connection, "response.output_audio.delta")
        await speak(connection, sound(0.3))
        events = await hear(connection, "response.done")
        kinds = [event.type for event in events]
        assert "input_audio_buffer.speech_started" in kinds
        interrupted = events[-1].response
        assert interrupted.status == "cancelled"
        assert interrupted.status_details.reason == "turn_detected"
        assert interrupted.output[0].status == "incomplete"
        await connection.conversation.item.truncate(
            item_id=interrupted.output[0].id, content_index=0, audio_end_ms=100
        )
        await hear(connection, "conversation.item.truncated")
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await hear(connection, "session.updated")
        await speak(connection, SILENCE)
        events = await hear(connection, "response.done")
        assert events[-1].response.status == "completed"
        assert events[-1].response.id != interrupted.id
