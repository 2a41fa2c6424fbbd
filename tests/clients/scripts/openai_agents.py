"""openai-agents: an agent with a tool, on its own session settings."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from agents import function_tool
from agents.realtime import (
    RealtimeAgent,
    RealtimePlaybackTracker,
    RealtimeRunner,
    RealtimeSession,
    RealtimeSessionEvent,
)
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

PLAYED_MS = 100
TRUNCATED = "conversation.item.truncated"
HANDOFF = "Please call transfer_to_french."

called: list[str] = []
player = RealtimePlaybackTracker()


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
        self.audio_item = ""

    async def until(self, wanted: Callable[[RealtimeSessionEvent], bool]) -> RealtimeSessionEvent:
        """The next event that is wanted."""
        async for event in self.events:
            self.note(event)
            if wanted(event):
                return event
        raise AssertionError("the session ended")

    async def all_of(self, *kinds: str) -> dict[str, Any]:
        """The next event of each of these kinds from the server, in whichever order."""
        came: dict[str, Any] = {}
        while len(came) < len(kinds):
            event = await self.until(lambda event: server_kind(event) in kinds)
            came.setdefault(event.data.data["type"], event.data.data)
        return came

    def note(self, event: RealtimeSessionEvent) -> None:
        if event.type != "raw_model_event":
            self.kinds.append(event.type)
        if event.type == "error":
            self.problems.append(repr(event.error))
        elif event.type == "history_updated":
            self.history = event.history
        elif event.type == "audio":
            self.audio_bytes += len(event.audio.data)
            self.audio_item = event.item_id
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
        response = (await self.all_of("response.done"))["response.done"]["response"]
        while not response["output"][0].get("content"):
            response = (await self.all_of("response.done"))["response.done"]["response"]
        return {
            "heard": self.heard,
            "answer": self.answer,
            "audio_s": seconds(self.audio_bytes),
            "status": response["status"],
        }


def server_kind(event: RealtimeSessionEvent) -> str | None:
    """Of which kind the server's event is, if it is one."""
    raw = event.type == "raw_model_event" and event.data.type == "raw_server_event"
    return event.data.data["type"] if raw else None


async def interrupt(talk: Talk) -> dict[str, Any]:
    """Speaks while an answer comes in; what is to be done then is the SDK's."""
    await talk.session.send_message(LONG_QUESTION)
    await talk.until(lambda event: event.type == "audio")
    player.on_play_ms(talk.audio_item, 0, PLAYED_MS)
    await talk.speak(speech(0.5))
    came = await talk.all_of("response.done", TRUNCATED)
    done = came["response.done"]["response"]
    return {
        "status": done["status"],
        "reason": done["status_details"]["reason"],
        "audio_interrupted": "audio_interrupted" in talk.kinds,
        **await go_on(talk, came[TRUNCATED]),
    }


async def interrupt_late(talk: Talk) -> dict[str, Any]:
    """Speaks when all of an answer has come, and only the beginning of it was played."""
    player.on_play_ms(talk.audio_item, 0, PLAYED_MS)
    await talk.speak(speech(0.5))
    return await go_on(talk, (await talk.all_of(TRUNCATED))[TRUNCATED])


async def go_on(talk: Talk, truncated: dict[str, Any]) -> dict[str, Any]:
    """What became of the answer that was spoken into, and what follows it."""

    def retrieved(event: RealtimeSessionEvent) -> bool:
        is_one = server_kind(event) == "conversation.item.retrieved"
        return is_one and event.data.data["item"]["id"] == truncated["item_id"]

    await talk.until(retrieved)
    await talk.speak(silence(5))
    return {"truncated_ms": truncated["audio_end_ms"], "after": await talk.answered()}


async def hand_off(talk: Talk) -> dict[str, Any]:
    await talk.session.send_message(HANDOFF)
    event = await talk.until(lambda event: event.type == "handoff")
    updated = (await talk.all_of("session.updated"))["session.updated"]
    return {
        "to": event.to_agent.name,
        "instructions": updated["session"]["instructions"],
        **await talk.answered(),
    }


async def converse(talk: Talk) -> dict[str, Any]:
    await talk.all_of("session.updated")
    await talk.all_of("session.updated")
    await talk.speak(speech(0.6) + silence(5))
    seen = {"spoken": await talk.answered()}
    await talk.session.send_message("How do you do?")
    seen["text"] = await talk.answered()
    await talk.session.send_message(TOOL_QUESTION)
    seen["tool"] = await talk.answered()
    seen["interrupted"] = await interrupt(talk)
    seen["interrupted_late"] = await interrupt_late(talk)
    seen["handed_off"] = await hand_off(talk)
    return seen


async def main() -> None:
    french = RealtimeAgent(name="french", instructions="Answer in French.")
    agent = RealtimeAgent(
        name="Weather", instructions="Answer briefly.", tools=[get_weather], handoffs=[french]
    )
    runner = RealtimeRunner(agent)
    async with asyncio.timeout(DEADLINE_S):
        session = await runner.run(
            model_config={"url": WEBSOCKET_URL, "api_key": KEY, "playback_tracker": player}
        )
        async with session, aclosing(aiter(session)) as events:
            talk = Talk(session, events)
            seen = await converse(talk)
    seen["called"] = called
    seen["kinds"] = sorted(set(talk.kinds))
    seen["problems"] = talk.problems
    seen["history"] = [f"{item.type} {getattr(item, 'role', '')}".strip() for item in talk.history]
    report(seen)


asyncio.run(main())
