"""kill -9 of the only worker of a stage, while somebody speaks: the turn completes all the same."""

import asyncio
import os
import signal

import pytest

from client import Parley
from tests.support.up import Up
from tests.system.test_many_sessions import RATE, check_order, speech

SOON_S = 60.0

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("stage", ["vad", "stt", "llm", "tts"])
async def test_a_turn_outlives_a_worker(up: Up, stage: str) -> None:
    up.wait_for(lambda: up.child(f"workers.{stage}") is not None)
    worker = up.child(f"workers.{stage}")
    assert worker is not None
    kinds, heard, answer = [], "", ""
    async with Parley(up.url) as session:
        await session.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        sound = speech(1, 0)
        events = session.events()
        for at in range(0, len(sound), RATE // 10):
            await session.send_audio(sound[at : at + RATE // 10])
            if at == RATE // 10:
                os.kill(worker.pid, signal.SIGKILL)
        async with asyncio.timeout(SOON_S):
            async for event in events:
                kinds.append(event.type)
                if event.type == "conversation.item.input_audio_transcription.completed":
                    heard = event["transcript"]
                elif event.type == "response.output_audio_transcript.delta":
                    answer += event["delta"]
                elif event.type == "response.done":
                    assert event["response"]["status"] == "completed"
                    break
    check_order(kinds)
    assert kinds.count("response.created") == kinds.count("input_audio_buffer.committed") == 1
    assert answer == f"You said: {heard}. That is all I know about it."
