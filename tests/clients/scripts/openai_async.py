"""The `openai` package, asynchronous: its connection as its documentation uses it."""

import asyncio
import base64
from typing import Any

from given import (
    DEADLINE_S,
    KEY,
    LONG_QUESTION,
    TOOL_QUESTION,
    URL,
    WEATHER,
    chunks,
    report,
    seconds,
    silence,
    speech,
    trace,
)
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

WEATHER_TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


class Talk:
    """A conversation, event by event."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection

    async def speak(self, audio: bytes) -> None:
        for chunk in chunks(audio):
            encoded = base64.b64encode(chunk).decode()
            await self.connection.input_audio_buffer.append(audio=encoded)

    async def ask(self, text: str) -> None:
        await self.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": text}],
            }
        )
        await self.connection.response.create()

    async def until(self, last: str) -> list[Any]:
        """The events up to the next of type `last`; an error is the end of it all."""
        events = []
        async for event in self.connection:
            trace(event)
            assert event.type != "error", event
            events.append(event)
            if event.type == last:
                return events
        raise AssertionError(f"the connection ended before {last}")


def heard(events: list[Any]) -> dict[str, Any]:
    """What one response was."""
    seen: dict[str, Any] = {"answer": "", "audio_s": 0.0, "kinds": []}
    for event in events:
        seen["kinds"].append(event.type)
        match event.type:
            case "conversation.item.input_audio_transcription.completed":
                seen["heard"] = event.transcript
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                seen["answer"] += event.delta
            case "response.output_audio.delta":
                seen["audio_s"] += seconds(len(base64.b64decode(event.delta)))
            case "response.done":
                seen["status"] = event.response.status
                seen["tokens"] = event.response.usage and event.response.usage.total_tokens
    return seen


async def converse(talk: Talk) -> dict[str, Any]:
    seen: dict[str, Any] = {"first": (await talk.until("session.created"))[0].type}
    await talk.connection.session.update(
        session={
            "type": "realtime",
            "instructions": "Answer briefly.",
            "tools": [WEATHER_TOOL],
            "audio": {
                "input": {
                    "transcription": {"model": "gpt-4o-mini-transcribe"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
                },
                "output": {"voice": "marin"},
            },
        }
    )
    await talk.until("session.updated")
    await talk.speak(speech(0.6) + silence(0.6))
    seen["spoken"] = heard(await talk.until("response.done"))
    await talk.ask("How do you do?")
    seen["text"] = heard(await talk.until("response.done"))
    seen["tool"] = await use_tool(talk)
    seen["interrupted"] = await interrupt(talk)
    await talk.connection.session.update(
        session={"type": "realtime", "output_modalities": ["text"]}
    )
    await talk.until("session.updated")
    await talk.ask("And in writing?")
    seen["written"] = heard(await talk.until("response.done"))
    return seen


async def use_tool(talk: Talk) -> dict[str, Any]:
    await talk.ask(TOOL_QUESTION)
    [call] = [
        event
        for event in await talk.until("response.done")
        if event.type == "response.function_call_arguments.done"
    ]
    await talk.connection.conversation.item.create(
        item={"type": "function_call_output", "call_id": call.call_id, "output": WEATHER}
    )
    await talk.connection.response.create()
    answer = heard(await talk.until("response.done"))
    return {"name": call.name, "arguments": call.arguments, **answer}


async def interrupt(talk: Talk) -> dict[str, Any]:
    """Speaks while an answer is heard, and says how much of it was played."""
    await talk.ask(LONG_QUESTION)
    begun = await talk.until("response.output_audio.delta")
    await talk.speak(speech(0.5))
    cut = await talk.until("response.done")
    await talk.connection.conversation.item.truncate(
        item_id=begun[-1].item_id, content_index=0, audio_end_ms=100
    )
    truncated = (await talk.until("conversation.item.truncated"))[-1]
    await talk.speak(silence(0.6))
    after = heard(await talk.until("response.done"))
    done = cut[-1].response
    return {
        "status": done.status,
        "reason": done.status_details.reason,
        "speech_started": "input_audio_buffer.speech_started" in [event.type for event in cut],
        "truncated_ms": truncated.audio_end_ms,
        "after": after,
    }


async def main() -> None:
    async with asyncio.timeout(DEADLINE_S):
        client = AsyncOpenAI(base_url=URL, api_key=KEY)
        async with client, client.realtime.connect(model="gpt-realtime") as connection:
            seen = await converse(Talk(connection))
    report(seen)


asyncio.run(main())
