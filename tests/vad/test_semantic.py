"""What a model that knows the end of a turn by its sound is good for: real models, real pauses."""

import numpy as np
import pytest

from shared.audio import SAMPLE_RATE, Int16
from shared.messages import SpeechStarted, SpeechStopped, TurnDetection
from shared.models import resolve
from shared.settings import Settings
from tests.engines.conftest import at_16_khz
from tests.vad.hearing import SESSION, frames, silence
from workers.vad.engines import create
from workers.vad.listener import Listener


@pytest.fixture(scope="module")
def hesitating() -> Int16:
    """Somebody who stops in the middle of a sentence to think, then ends it."""
    settings = Settings()
    folder = resolve("speech-samples", settings.models_dir)
    said = at_16_khz(folder / "en" / "quick_brown_fox.wav")
    sound = np.flatnonzero(np.abs(said.astype(np.int32)) > 300)
    middle = sound[0] + int(0.6 * (sound[-1] - sound[0]))
    return np.concatenate([said[:middle], silence(1.2), said[middle:], silence(2.2)])


def kinds(audio: Int16, rules: TurnDetection) -> list[type]:
    hearing = create(Settings())
    hearing.load()
    listener = Listener(SESSION, hearing.vad.initial_state())
    listener.turn_detection = rules
    heard = []
    for frame in frames(audio, [SAMPLE_RATE // 50]):
        listener.accept(frame, "1-0")
        while not listener.idle:
            if listener.has_question:
                over = hearing.turns.over([listener.turn()])
                heard.append(listener.answer(float(over[0]), now_ms=0))
            else:
                window, state = listener.window()[None], listener.model_state[None]
                probability, after = hearing.vad.step(window, state)
                heard.append(listener.advance(float(probability[0]), after[0], now_ms=0))
    return [type(event.messages[0]) for event in heard if event is not None]


def test_who_stops_to_think_is_waited_for(hesitating: Int16) -> None:
    by_silence = kinds(hesitating, TurnDetection(silence_ms=500))
    assert by_silence == [SpeechStarted, SpeechStopped] * 2
    by_sound = kinds(hesitating, TurnDetection(eagerness="low"))
    assert by_sound == [SpeechStarted, SpeechStopped]
