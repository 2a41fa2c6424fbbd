"""Whose language an answer is in, with real models: Whisper that knows 99, and voices of one."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from client import Parley, frames, silence
from shared.audio import resample
from shared.models import resolve
from tests.engines.conftest import at_16_khz
from tests.support.spoken import SPOKEN_S
from tests.support.up import Up, running

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("data")
    with running(data, "cpu", PARLEY_STT_MODEL="whisper-base", PARLEY_SILENCE_MS="300") as started:
        yield started


async def answered(up: Up, recording: str, **transcription: str) -> tuple[str, dict[str, Any]]:
    """What was heard in one of the starter pack's recordings, and the response as it ended."""
    path = resolve("speech-samples") / recording
    sound = [*frames(resample(at_16_khz(path), 16_000, 24_000))]
    heard = ""
    async with Parley(up.url) as session, asyncio.timeout(SPOKEN_S):
        wanted = {"model": "whisper-1", **transcription}
        await session.update(audio={"input": {"transcription": wanted}})

        async def speak() -> None:
            await session.stream_audio(sound)
            await session.stream_audio(silence())

        speaking = asyncio.create_task(speak())
        try:
            async for event in session.events():
                if event.type == "conversation.item.input_audio_transcription.completed":
                    heard = event["transcript"]
                elif event.type == "response.done" and event["response"]["status"] != "cancelled":
                    return heard, event["response"]
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    raise AssertionError("the session ended before the answer did")


async def test_a_language_that_is_heard_and_that_no_voice_speaks_is_said(up: Up) -> None:
    heard, response = await answered(up, "fr/pangrama.wav")
    assert "whisky" in heard.lower()
    assert response["status"] == "failed"
    assert "no voice speaks 'fr'" in response["status_details"]["error"]["message"]


async def test_a_language_that_is_heard_and_spoken_is_answered(up: Up) -> None:
    heard, response = await answered(up, "en/quick_brown_fox.wav")
    assert "fox" in heard.lower()
    assert response["status"] == "completed"


async def test_a_language_that_the_client_fixes_is_the_answers(up: Up) -> None:
    _, response = await answered(up, "fr/pangrama.wav", language="en")
    assert response["status"] == "completed"
