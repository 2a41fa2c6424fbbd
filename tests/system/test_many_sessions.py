"""A hundred people at once, with engines that take no time: everyone gets their own answer."""

import asyncio

import numpy as np
import pytest

from client import Parley
from shared.audio import Int16
from tests.support.up import Up

SESSIONS = 100
TURNS = 2
RATE = 24_000
SOON_S = 60.0

pytestmark = pytest.mark.timeout(300)


def speech(number: int, turn: int) -> Int16:
    """Sound of a length that no other session's turn has, and the silence that ends it."""
    length = RATE // 2 + 240 * (number * TURNS + turn)
    tone = 9000 * np.sin(2 * np.pi * 300 * np.arange(length) / RATE)
    return np.concatenate([tone.astype(np.int16), np.zeros(RATE, np.int16)])


async def converse(url: str, number: int) -> list[tuple[str, str]]:
    """Two turns; for each what was heard and what was answered, with the events in order."""
    turns = []
    async with Parley(url) as session:
        await session.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        events = session.events()
        for turn in range(TURNS):
            sound = speech(number, turn)
            for at in range(0, len(sound), RATE // 10):
                await session.send_audio(sound[at : at + RATE // 10])
            heard, answer, kinds, samples = "", "", [], 0
            async for event in events:
                kinds.append(event.type)
                if event.type == "conversation.item.input_audio_transcription.completed":
                    heard = event["transcript"]
                elif event.type == "response.output_audio_transcript.delta":
                    answer += event["delta"]
                elif event.type == "response.output_audio.delta":
                    samples += len(event.audio)
                elif event.type == "response.done":
                    assert event["response"]["status"] == "completed"
                    break
            check_order(kinds)
            assert samples > 0
            turns.append((heard, answer))
    return turns


def check_order(kinds: list[str]) -> None:
    """The documented order of a spoken turn's events."""
    wanted = [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    places = [kinds.index(kind) for kind in wanted]
    assert places == sorted(places), kinds


async def test_everyone_gets_their_own_answer(up: Up) -> None:
    async with asyncio.timeout(SOON_S * 2):
        results = await asyncio.gather(*(converse(up.url, n) for n in range(SESSIONS)))
    heard = [said for turns in results for said, _ in turns]
    assert len(set(heard)) == SESSIONS * TURNS, "two sessions heard the same"
    for turns in results:
        for said, answer in turns:
            assert answer == f"You said: {said}. That is all I know about it."
