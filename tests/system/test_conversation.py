"""The product as its users have it: `parley up` with real models, and a question in audio.

`tests/support/spoken.py` says what the word error rates are.
"""

import asyncio
import base64
from collections.abc import Iterator

import numpy as np
import pytest
from openai import AsyncOpenAI

from shared.audio import pcm16
from tests.support.legacy_client import LegacyClient
from tests.support.spoken import (
    MISHEARD,
    QUESTIONS,
    SPOKEN_S,
    ask,
    check_order,
    check_spoken,
    question,
    understood,
)
from tests.support.up import Up, running
from tests.support.words import letter_error_rate, word_error_rate

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("data")
    with running(data, "cpu", PARLEY_SILENCE_MS="300") as started:
        yield started


async def test_a_spoken_question_gets_a_spoken_answer(up: Up) -> None:
    turns = [await ask(up.url, name) for name in QUESTIONS]
    for turn, said in zip(turns, QUESTIONS.values(), strict=True):
        assert word_error_rate(said, turn.heard) <= 0.10
        check_order(turn)
    check_spoken(turns)


async def test_two_conversations_at_once_do_not_mix(up: Up) -> None:
    turns = await asyncio.gather(*(ask(up.url, name) for name in QUESTIONS))
    for turn, said in zip(turns, QUESTIONS.values(), strict=True):
        assert word_error_rate(said, turn.heard) <= 0.10
    answers, spoken = [t.answer for t in turns], [understood(t.samples, 24_000) for t in turns]
    assert letter_error_rate(answers, spoken) <= MISHEARD
    for answer, other in (answers, answers[::-1]):
        own = spoken[answers.index(answer)]
        assert letter_error_rate(answer, own) < letter_error_rate(other, own)


async def test_the_official_client_holds_a_conversation(up: Up) -> None:
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{up.port}/v1", api_key="any")
    sound = question("question-sky.wav", 24_000)
    heard, answer, audio = "", "", []
    async with client.realtime.connect(model="parley") as connection:
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Answer in one short sentence.",
                "audio": {
                    "input": {
                        "transcription": {"model": "whisper-1"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
                    }
                },
            }
        )
        quiet = np.zeros(24_000, np.int16)
        for piece in np.split(np.concatenate([sound, quiet]), range(2400, len(sound), 2400)):
            encoded = base64.b64encode(piece.tobytes()).decode()
            await connection.input_audio_buffer.append(audio=encoded)
        async with asyncio.timeout(SPOKEN_S):
            async for event in connection:
                assert event.type != "error", event
                if event.type == "conversation.item.input_audio_transcription.completed":
                    heard = event.transcript
                elif event.type == "response.output_audio_transcript.delta":
                    answer += event.delta
                elif event.type == "response.output_audio.delta":
                    audio.append(pcm16(base64.b64decode(event.delta)))
                elif event.type == "response.done":
                    assert event.response.status == "completed"
                    break
    assert word_error_rate(QUESTIONS["question-sky.wav"], heard) <= 0.10
    spoken = understood(np.concatenate(audio), 24_000)
    assert letter_error_rate(answer, spoken) <= MISHEARD


@pytest.mark.parametrize("chunk", [1024, 512])
async def test_the_original_client_gets_its_answer(up: Up, chunk: int) -> None:
    def converse() -> tuple[str, int]:
        with LegacyClient(f"http://127.0.0.1:{up.port}/", chunk=chunk) as client:
            answer = client.ask(question("question.wav", 16_000))
            return understood(answer.played, 16_000), len(answer.messages)

    said, messages = await asyncio.to_thread(converse)
    assert messages > 0
    assert len(said.split()) >= 3
