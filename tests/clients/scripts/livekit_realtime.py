"""livekit's `openai.realtime.RealtimeModel`: its session, and an agent that has one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from given import (
    DEADLINE_S,
    KEY,
    LONG_QUESTION,
    RATE,
    TOOL_QUESTION,
    URL,
    WEATHER,
    chunks,
    report,
    silence,
    speech,
    trace,
)
from livekit import rtc
from livekit.agents import Agent, AgentSession, llm
from livekit.agents.utils import http_context
from livekit.plugins.openai.realtime import RealtimeModel


@llm.function_tool
async def get_weather(city: str) -> str:
    """The weather in a city."""
    return WEATHER


class Talk:
    """A session, and what it told."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.begun: asyncio.Queue[llm.GenerationCreatedEvent] = asyncio.Queue()
        self.transcribed: asyncio.Queue[str] = asyncio.Queue()
        self.speaking = asyncio.Event()
        self.added: asyncio.Queue[llm.RemoteItemAddedEvent] = asyncio.Queue()
        self.problems: list[str] = []
        self.truncated: asyncio.Queue[int] = asyncio.Queue()
        session.on("generation_created", self.note_answer)
        session.on("input_audio_transcription_completed", self.note_words)
        session.on("input_speech_started", lambda _: self.speaking.set())
        session.on("remote_item_added", self.added.put_nowait)
        session.on("error", lambda problem: self.problems.append(repr(problem.error)))
        session.on("openai_server_event_received", self.note)

    def note(self, event: dict[str, Any]) -> None:
        trace(event)
        if event["type"] == "conversation.item.truncated":
            self.truncated.put_nowait(event["audio_end_ms"])

    def note_answer(self, generation: llm.GenerationCreatedEvent) -> None:
        if not generation.user_initiated:
            self.begun.put_nowait(generation)

    def note_words(self, words: llm.InputTranscriptionCompleted) -> None:
        if words.is_final:
            self.transcribed.put_nowait(words.transcript)

    def speak(self, audio: bytes) -> None:
        for chunk in chunks(audio):
            self.session.push_audio(rtc.AudioFrame(chunk, RATE, 1, len(chunk) // 2))

    async def say(self, *items: llm.ChatItem) -> None:
        """Adds items to the conversation and waits until the server has them."""
        context = self.session.chat_ctx.copy()
        context.items.extend(items)
        await self.session.update_chat_ctx(context)

    async def forget(self, place: int) -> None:
        """Takes an item out of the conversation and waits until the server has done so."""
        context = self.session.chat_ctx.copy()
        del context.items[place]
        await self.session.update_chat_ctx(context)

    async def ask(self, text: str) -> llm.GenerationCreatedEvent:
        await self.say(llm.ChatMessage(role="user", content=[text]))
        return await self.session.generate_reply()


async def read(generation: llm.GenerationCreatedEvent) -> dict[str, Any]:
    """What one response was."""
    seen: dict[str, Any] = {"answer": "", "audio_s": 0.0, "calls": []}
    async for message in generation.message_stream:
        seen["modalities"] = await message.modalities
        seen["item_id"] = message.message_id
        async for text in message.text_stream:
            seen["answer"] += text
        async for frame in message.audio_stream:
            seen["audio_s"] += frame.duration
    async for call in generation.function_stream:
        seen["calls"].append(call)
    return seen


async def use_tool(talk: Talk) -> dict[str, Any]:
    [call] = (await read(await talk.ask(TOOL_QUESTION)))["calls"]
    await talk.say(
        llm.FunctionCallOutput(call_id=call.call_id, name=call.name, output=WEATHER, is_error=False)
    )
    answer = await read(await talk.session.generate_reply())
    return {"name": call.name, "arguments": call.arguments, "answer": answer["answer"]}


async def interrupt(talk: Talk) -> dict[str, Any]:
    """Speaks while an answer is heard, and does what livekit's agents do then."""
    talk.speaking.clear()
    generation = await talk.ask(LONG_QUESTION)
    message = await anext(aiter(generation.message_stream))
    frame = await anext(aiter(message.audio_stream))
    talk.speak(speech(0.5))
    await talk.speaking.wait()
    talk.session.interrupt()
    heard_ms = int(frame.duration * 1000)
    talk.session.truncate(
        message_id=message.message_id, modalities=["audio"], audio_end_ms=heard_ms
    )
    truncated_ms = await talk.truncated.get()
    talk.speak(silence(5))
    after = await read(await talk.begun.get())
    return {"asked_ms": heard_ms, "truncated_ms": truncated_ms, "after": after}


async def converse(talk: Talk) -> dict[str, Any]:
    await talk.session.update_instructions("Answer briefly.")
    await talk.session.update_tools([get_weather])
    talk.speak(speech(0.6) + silence(5))
    spoken = await read(await talk.begun.get())
    heard = await talk.transcribed.get()
    seen: dict[str, Any] = {"spoken": {"heard": heard, **spoken}}
    seen["text"] = await read(await talk.ask("How do you do?"))
    seen["tool"] = await use_tool(talk)
    seen["interrupted"] = await interrupt(talk)
    seen["history"] = [item.type for item in talk.session.chat_ctx.items]
    return seen


@asynccontextmanager
async def talking(model: RealtimeModel) -> AsyncIterator[Talk]:
    session = model.session()
    try:
        yield Talk(session)
    finally:
        await session.aclose()


async def reconnect() -> dict[str, Any]:
    """A session that outlives its connection, and takes its conversation along."""
    model = RealtimeModel(base_url=URL, api_key=KEY, max_session_duration=1.0)
    async with talking(model) as talk:
        await talk.say(
            llm.ChatMessage(role="user", content=[TOOL_QUESTION]),
            llm.FunctionCall(call_id="call_1", name="get_weather", arguments='{"city": "Rome"}'),
            llm.FunctionCallOutput(
                call_id="call_1", name="get_weather", output=WEATHER, is_error=False
            ),
            llm.ChatMessage(role="assistant", content=["It is sunny."]),
        )
        before = [item.id for item in talk.session.chat_ctx.items]
        added = [(await talk.added.get()).item.id for _ in before + before]
        answer = await read(await talk.ask("How do you do?"))
        return {
            "again": added == before + before,
            "answer": answer["answer"],
            "problems": talk.problems,
        }


async def push_to_talk() -> dict[str, Any]:
    """A turn whose end the client tells, and whose answer it asks for; then it forgets that."""
    async with talking(RealtimeModel(base_url=URL, api_key=KEY, turn_detection=None)) as talk:
        talk.speak(speech(0.6))
        talk.session.commit_audio()
        answer = await read(await talk.session.generate_reply())
        heard = await talk.transcribed.get()
        before = [item.id for item in talk.session.chat_ctx.items]
        await talk.forget(1)
        after = [item.id for item in talk.session.chat_ctx.items]
        return {
            "heard": heard,
            **answer,
            "forgotten": after == before[:1],
            "problems": talk.problems,
        }


async def agent() -> list[str]:
    """What an agent with a tool does when it is asked to use it."""
    model = RealtimeModel(base_url=URL, api_key=KEY)
    async with model, AgentSession(llm=model) as session:
        await session.start(Agent(instructions="Answer briefly.", tools=[get_weather]))
        result = await session.run(user_input=TOOL_QUESTION)
        assert isinstance(result.events[-1].item, llm.ChatMessage)
        return [*(event.type for event in result.events), result.events[-1].item.text_content]


async def main() -> None:
    async with asyncio.timeout(DEADLINE_S), http_context.open():
        async with talking(RealtimeModel(base_url=URL, api_key=KEY)) as talk:
            seen = await converse(talk)
            seen["problems"] = talk.problems
        seen["reconnected"] = await reconnect()
        seen["push_to_talk"] = await push_to_talk()
        seen["agent"] = await agent()
    report(json.loads(json.dumps(seen, default=str)))


asyncio.run(main())
