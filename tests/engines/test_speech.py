"""What is spoken is understood: Piper's speech has its words when Whisper hears it."""

from collections.abc import Iterator

import numpy as np
import pytest

from shared.settings import Settings
from tests.support.words import word_error_rate, words
from workers.stt.engines import SttEngine, Utterance
from workers.stt.engines import create as create_stt
from workers.tts.engines import Speech, TtsEngine
from workers.tts.engines import create as create_tts

SENTENCES = [
    "The capital of France is Paris.",
    "I would like to book a table for two people tonight.",
    "Please remind me to call my mother tomorrow at noon.",
    "My name is Daniel and I live in a small town by the sea.",
    "Could you explain to me in simple words how a refrigerator works?",
    "Turn off the lights in the kitchen, and then set an alarm for the morning.",
]
# Over short windows Whisper likes to repeat the likes of these without end.
SHORT = ["Yes.", "No, thanks.", "Stop!", "Hello?", "Thank you very much.", "What time is it?"]


@pytest.fixture(scope="module")
def voice() -> Iterator[TtsEngine]:
    engine = create_tts(Settings(tts_engine="piper"))
    engine.load()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def ear() -> Iterator[SttEngine]:
    engine = create_stt(Settings(stt_engine="whisper", stt_model="whisper-tiny.en"))
    engine.load()
    yield engine
    engine.close()


def utterance(voice: TtsEngine, text: str) -> Utterance:
    spoken = voice.synthesize(Speech(text, voice=None, speed=1.0, sample_rate=16_000))
    pause = np.zeros(3_200, np.int16)
    return Utterance(np.concatenate([pause, *spoken, pause]))


def test_sentences_keep_their_words(voice: TtsEngine, ear: SttEngine) -> None:
    heard = ear.transcribe([utterance(voice, sentence) for sentence in SENTENCES])
    understood = " ".join(transcript.text for transcript in heard)
    assert word_error_rate(" ".join(SENTENCES), understood) <= 0.1


@pytest.mark.parametrize("said", SHORT)
def test_a_few_words_are_not_repeated(voice: TtsEngine, ear: SttEngine, said: str) -> None:
    (transcript,) = ear.transcribe([utterance(voice, said)])
    assert 0 < len(words(transcript.text).split()) <= len(words(said).split()) + 1
