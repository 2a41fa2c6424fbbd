"""Silero is the same model whatever runs it."""

from collections.abc import Callable

import numpy as np
import pytest

from shared.audio import Float32, Int16, to_float32
from shared.settings import Settings
from workers.vad.engines import WINDOW, VadEngine, create

Reader = Callable[[str], Int16]


def opened(name: str) -> VadEngine:
    engine = create(Settings(vad_engine=name)).vad
    engine.load()
    return engine


def listen(
    engine: VadEngine, windows: Float32, states: Float32 | None = None
) -> tuple[Float32, Float32]:
    """How likely each of (steps, B, 512) is speech, (steps, B), and the states after them."""
    if states is None:
        states = np.stack([engine.initial_state()] * windows.shape[1])
    heard = []
    for step in windows:
        probability, states = engine.step(step, states)
        heard.append(probability)
    return np.array(heard), states


@pytest.mark.torch_engine
@pytest.mark.parametrize("sessions", [1, 8, 32])
def test_torch_hears_what_onnxruntime_hears(readers: Reader, sessions: int) -> None:
    """Of 44 s of reading; measured: 2e-6 apart at most."""
    audio = to_float32(readers("two_cities"))
    steps = len(audio) // (sessions * WINDOW)
    windows = audio[: sessions * steps * WINDOW].reshape(sessions, steps, WINDOW).swapaxes(0, 1)
    expected, _ = listen(opened("silero"), windows)
    heard, _ = listen(opened("silero-torch"), windows)
    assert expected.max() > 0.9
    np.testing.assert_allclose(heard, expected, atol=1e-4)


@pytest.mark.torch_engine
def test_a_session_goes_on_with_the_other(readers: Reader) -> None:
    audio = to_float32(readers("beckett")[: 80 * WINDOW]).reshape(80, 1, WINDOW)
    onnx, torch = opened("silero"), opened("silero-torch")
    whole, _ = listen(onnx, audio)
    _, state = listen(torch, audio[:40])
    rest, _ = listen(onnx, audio[40:], state)
    np.testing.assert_allclose(rest, whole[40:], atol=1e-4)
