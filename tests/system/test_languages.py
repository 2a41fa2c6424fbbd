"""Whose language an answer is in, with real models: Whisper knows 99, and there are few voices."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from client import Parley, frames, silence
from shared.audio import Int16, resample
from shared.models import resolve
from tests.engines.conftest import at_16_khz
from tests.support import piper_voices
from tests.support.spoken import SPOKEN_S
from tests.support.up import Up, running

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("data")
    with running(data, "cpu", PARLEY_STT_MODEL="whisper-base", PARLEY_SILENCE_MS="300") as started:
        yield started


@pytest.fixture(scope="module")
def bilingual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Voices for English and French, and a model that repeats what it is told."""
    french = piper_voices.spelling(
        tmp_path_factory.mktemp("voices"),
        "fr_FR-spelt-low",
        {"a": 1_000, "b": 2_000},
        espeak={"voice": "fr"},
        language={"code": "fr_FR"},
    )
    settings = {
        "PARLEY_STT_MODEL": "whisper-base",
        "PARLEY_LLM_ENGINE": "instant",
        "PARLEY_TTS_MODELS": f"en_US-joe-medium,{french}",
        "PARLEY_SILENCE_MS": "300",
    }
    with running(tmp_path_factory.mktemp("data"), "cpu", **settings) as started:
        yield started


async def answered(
    up: Up, recording: str, **transcription: str
) -> tuple[str, dict[str, Any], Int16]:
    """What was heard in one of the starter pack's recordings, the response, and its audio."""
    path = resolve("speech-samples") / recording
    sound = [*frames(resample(at_16_khz(path), 16_000, 24_000))]
    heard, audio = "", np.zeros(0, np.int16)
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
                elif event.type == "response.output_audio.delta":
                    audio = np.append(audio, event.audio)
                elif event.type == "response.done" and event["response"]["status"] != "cancelled":
                    return heard, event["response"], audio
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    raise AssertionError("the session ended before the answer did")


async def test_a_language_that_is_heard_and_that_no_voice_speaks_is_said(up: Up) -> None:
    heard, response, _ = await answered(up, "fr/pangrama.wav")
    assert "whisky" in heard.lower()
    assert response["status"] == "failed"
    assert "no voice speaks 'fr'" in response["status_details"]["error"]["message"]


async def test_a_language_that_is_heard_and_spoken_is_answered(up: Up) -> None:
    heard, response, _ = await answered(up, "en/quick_brown_fox.wav")
    assert "fox" in heard.lower()
    assert response["status"] == "completed"


async def test_a_language_that_the_client_fixes_is_the_answers(up: Up) -> None:
    _, response, _ = await answered(up, "fr/pangrama.wav", language="en")
    assert response["status"] == "completed"


async def test_of_two_voices_the_one_that_speaks_the_language_answers(bilingual: Up) -> None:
    for recording, is_french in (("fr/pangrama.wav", True), ("en/quick_brown_fox.wav", False)):
        _, response, audio = await answered(bilingual, recording)
        assert response["status"] == "completed"
        # The French voice says the numbers of phonemes, which are never below 0.
        assert (audio.min() > -1_000) == is_french
