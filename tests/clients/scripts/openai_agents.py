"""openai-agents: an agent with a tool, on its own session settings."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession, RealtimeSessionEvent
from given import (
    DEADLINE_S,
    KEY,
    LONG_QUESTION,
    TOOL_QUESTION,
    WEATHER,
    WEBSOCKET_URL,
    chunks,
    report,
    seconds,
    silence,
    speech,
    trace,
)

called: list[str] = []


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    called.append(city)
    return WEATHER


class Talk:
    """A session, event by event."""

    def __init__(
        self, session: RealtimeSession, events: AsyncIterator[RealtimeSessionEvent]
    ) -> None:
        self.session = session
        self.events = events
        self.kinds: list[str] = []
        self.problems: list[str] = []
        self.history: list[Any] = []
        self.heard = ""
        self.answer = ""
        self.audio_bytes = 0

    async def until(self, wanted: Callable[[RealtimeSessionEvent], bool]) -> RealtimeSessionEvent:
        """The next event that is wanted."""
        async for event in self.events:
            self.note(event)
            if wanted(event):
                return event
        raise AssertionError("the session ended")

    def note(self, event: RealtimeSessionEvent) -> None:
        if event.type != "raw_model_event":
            self.kinds.append(event.type)
        if event.type == "error":
            self.problems.append(repr(event.error))
        elif event.type == "history_updated":
            self.history = event.history
        elif event.type == "audio":
            self.audio_bytes += len(event.audio.data)
        elif event.type == "raw_model_event":
            if event.data.type == "raw_server_event":
                trace(event.data.data)
            elif event.data.type == "exception":
                self.problems.append(repr(event.data.exception))
            elif event.data.type == "transcript_delta":
                self.answer += event.data.delta
            elif event.data.type == "input_audio_transcription_completed":
                self.heard = event.data.transcript

    async def speak(self, audio: bytes) -> None:
        for chunk in chunks(audio):
            await self.session.send_audio(chunk)

    async def answered(self) -> dict[str, Any]:
        """What the next response with words in it was."""
        self.heard, self.answer, self.audio_bytes = "", "", 0
        done = await self.until(response_done)
        while not done.data.data["response"]["output"][0].get("content"):
            done = await self.until(response_done)
        return {
            "heard": self.heard,
            "answer": self.answer,
            "audio_s": seconds(self.audio_bytes),
            "status": done.data.data["response"]["status"],
        }


def server_event(kind: str) -> Callable[[RealtimeSessionEvent], bool]:
    """Whether the server sent an event of this kind."""

    def is_it(event: RealtimeSessionEvent) -> bool:
        raw = event.type == "raw_model_event" and event.data.type == "raw_server_event"
        return raw and event.data.data["type"] == kind

    return is_it


response_done = server_event("response.done")


async def interrupt(talk: Talk) -> dict[str, Any]:
    """Speaks while an answer is heard; what is to be done then is the SDK's."""
    await talk.session.send_message(LONG_QUESTION)
    await talk.until(lambda event: event.type == "audio")
    await talk.speak(speech(0.5))
    done = (await talk.until(response_done)).data.data["response"]
    truncated = await talk.until(server_event("conversation.item.truncated"))
    retrieved = await talk.until(server_event("conversation.item.retrieved"))
    await talk.speak(silence(5))
    return {
        "status": done["status"],
        "reason": done["status_details"]["reason"],
        "audio_interrupted": "audio_interrupted" in talk.kinds,
        "truncated_ms": truncated.data.data["audio_end_ms"],
        "retrieved": retrieved.data.data["item"]["id"] == truncated.data.data["item_id"],
        "after": await talk.answered(),
    }


async def converse(talk: Talk) -> dict[str, Any]:
    await talk.until(server_event("session.updated"))
    await talk.until(server_event("session.updated"))
    await talk.speak(speech(0.6) + silence(5))
    seen = {"spoken": await talk.answered()}
    await talk.session.send_message("How do you do?")
    seen["text"] = await talk.answered()
    await talk.session.send_message(TOOL_QUESTION)
    seen["tool"] = await talk.answered()
    seen["interrupted"] = await interrupt(talk)
    return seen


async def main() -> None:
    agent = RealtimeAgent(name="Weather", instructions="Answer briefly.", tools=[get_weather])
    runner = RealtimeRunner(agent)
    async with asyncio.timeout(DEADLINE_S):
        session = await runner.run(model_config={"url": WEBSOCKET_URL, "api_key": KEY})
        async with session, aclosing(aiter(session)) as events:
            talk = Talk(session, events)
            seen = await converse(talk)
    seen["called"] = called
    seen["kinds"] = sorted(set(talk.kinds))
    seen["problems"] = talk.problems
    seen["history"] = [f"{item.type} {getattr(item, 'role', '')}".strip() for item in talk.history]
    report(seen)


asyncio.run(main())
