"""The product as its users have it: `parley up` with real models, and a question in audio.

Word error rates are those of the starter models on clear synthetic speech: at most 10 % for what
was said and, for the answers as a larger recogniser understands them, at most 25 %. Answers are
judged together where one is short: "France is Paris", said fluently, is two errors in seven words.
"""

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from openai import AsyncOpenAI

from client import Parley, frames, silence
from shared.audio import Int16, pcm16, read_wav, resample
from shared.settings import Settings
from tests.support.legacy_client import LegacyClient
from tests.support.up import Up, running
from tests.support.words import word_error_rate
from workers.stt.engines import SttEngine, Utterance, create

DATA = Path(__file__).parent.parent / "data"
QUESTIONS = {
    "question.wav": "Can you please tell me what the name of the capital city of France is?",
    "question-sky.wav": ("Could you please tell me why it is that the sky is blue on a clear day?"),
}
SPOKEN_S = 60.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("data")
    with running(data, "cpu", PARLEY_SILENCE_MS="300") as started:
        yield started


@dataclass
class Turn:
    """One question and what came back; audio at 24 kHz."""

    kinds: list[str] = field(default_factory=list)
    heard: str = ""
    answer: str = ""
    audio: list[Int16] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)

    @property
    def samples(self) -> Int16:
        return np.concatenate(self.audio)


def question(name: str, rate: int) -> Int16:
    samples, recorded = read_wav(DATA / name)
    return resample(samples, recorded, rate)


@lru_cache(maxsize=1)
def judge() -> SttEngine:
    """A larger recogniser than the one under test."""
    engine = create(Settings(profile="cpu", stt_model="whisper-base"))
    engine.load()
    return engine


def understood(samples: Int16, rate: int) -> str:
    """What the judge makes of some audio."""
    utterance = Utterance(resample(samples, rate, 16_000), "en", None)
    [transcript] = judge().transcribe([utterance])
    return transcript.text


async def ask(url: str, name: str) -> Turn:
    """Asks through Parley's own client, in real time as a microphone would."""
    turn = Turn()
    async with Parley(f"{url}/v1/realtime?timings=true") as session:
        await session.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        sound = [*frames(question(name, 24_000))]

        async def speak() -> None:
            await session.stream_audio(sound)
            await session.stream_audio(silence())

        speaking = asyncio.create_task(speak())
        try:
            async with asyncio.timeout(SPOKEN_S):
                async for event in session.events():
                    turn.kinds.append(event.type)
                    match event.type:
                        case "conversation.item.input_audio_transcription.completed":
                            turn.heard = event["transcript"]
                        case "response.output_audio_transcript.delta":
                            turn.answer += event["delta"]
                        case "response.output_audio.delta":
                            turn.audio.append(event.audio)
                        case "parley.timings":
                            turn.marks = event["marks"]
                            return turn
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    raise AssertionError("the session ended before the answer did")


async def test_a_spoken_question_gets_a_spoken_answer(up: Up) -> None:
    turns = [await ask(up.url, name) for name in QUESTIONS]
    for turn, said in zip(turns, QUESTIONS.values(), strict=True):
        assert word_error_rate(said, turn.heard) <= 0.10
        assert turn.answer.strip()
        check_order(turn)
    spoken = [understood(turn.samples, 24_000) for turn in turns]
    assert word_error_rate([turn.answer for turn in turns], spoken) <= 0.25


def check_order(turn: Turn) -> None:
    """The user's side of a turn comes in the protocol's order, and its marks in the pipeline's."""
    order = ["speech_started", "speech_stopped", "committed"]
    first = [turn.kinds.index(f"input_audio_buffer.{kind}") for kind in order]
    assert first == sorted(first)
    reached = ["speech_end", "turn_end", "stt_start", "stt_end", "llm_start", "llm_first_token"]
    reached += ["llm_first_segment", "tts_start", "tts_first_chunk", "audio_out"]
    times = [turn.marks[mark] for mark in reached]
    assert times == sorted(times)


async def test_two_conversations_at_once_do_not_mix(up: Up) -> None:
    turns = await asyncio.gather(*(ask(up.url, name) for name in QUESTIONS))
    for turn, said in zip(turns, QUESTIONS.values(), strict=True):
        assert word_error_rate(said, turn.heard) <= 0.10
    answers, spoken = [t.answer for t in turns], [understood(t.samples, 24_000) for t in turns]
    assert word_error_rate(answers, spoken) <= 0.25
    for answer, other in (answers, answers[::-1]):
        own = spoken[answers.index(answer)]
        assert word_error_rate(answer, own) < word_error_rate(other, own)


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
    assert word_error_rate(answer, understood(np.concatenate(audio), 24_000)) <= 0.25


@pytest.mark.parametrize("chunk", [1024, 512])
async def test_the_original_client_gets_its_answer(up: Up, chunk: int) -> None:
    def converse() -> tuple[str, int]:
        with LegacyClient(f"http://127.0.0.1:{up.port}/", chunk=chunk) as client:
            answer = client.ask(question("question.wav", 16_000))
            return understood(answer.played, 16_000), len(answer.messages)

    said, messages = await asyncio.to_thread(converse)
    assert messages > 0
    assert len(said.split()) >= 3
