"""A question in audio, put to a running Parley with real models, and what came back.

Of what was asked, in clear synthetic speech, at most 10 % of the words may be heard wrong. Answers
are judged by a larger recogniser, which writes what sounds alike in other words ("Francis Paris"):
at most 15 % of the letters. Measured, over 30 times that the same answers were spoken: 5 % in the
median, 8 % at most; against another text than the one spoken, 70 % and more.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from client import Parley, frames, silence
from shared.audio import Int16, read_wav, resample
from shared.settings import Settings
from tests.support.words import letter_error_rate
from workers.stt.engines import SttEngine, Utterance, create

DATA = Path(__file__).parent.parent / "data"
QUESTIONS = {
    "question.wav": "Can you please tell me what the name of the capital city of France is?",
    "question-sky.wav": ("Could you please tell me why it is that the sky is blue on a clear day?"),
}
SPOKEN_S = 60.0
MISHEARD = 0.15


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


async def ask(url: str, name: str, api_key: str | None = None) -> Turn:
    """Asks through Parley's own client, in real time as a microphone would."""
    turn = Turn()
    async with Parley(f"{url}/v1/realtime?timings=true", api_key) as session:
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


def check_spoken(turns: Sequence[Turn]) -> None:
    """Each has an answer, and its sound says it."""
    answers = [turn.answer for turn in turns]
    assert all(answer.strip() for answer in answers)
    heard = [understood(turn.samples, 24_000) for turn in turns]
    assert letter_error_rate(answers, heard) <= MISHEARD


def check_order(turn: Turn) -> None:
    """The user's side of a turn comes in the protocol's order, and its marks in the pipeline's."""
    order = ["speech_started", "speech_stopped", "committed"]
    first = [turn.kinds.index(f"input_audio_buffer.{kind}") for kind in order]
    assert first == sorted(first)
    reached = ["speech_end", "turn_end", "stt_start", "stt_end", "llm_start", "llm_first_token"]
    reached += ["llm_first_segment", "tts_start", "tts_first_chunk", "audio_out"]
    times = [turn.marks[mark] for mark in reached]
    assert times == sorted(times)
