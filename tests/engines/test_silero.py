"""Silero is the same model whatever runs it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from shared.audio import Float32, Int16, to_float32
from shared.models import resolve
from shared.registry import CannotStart
from shared.settings import Settings
from workers.vad.engines import WINDOW, VadEngine, create
from workers.vad.engines.silero_state import packed, unpacked

PUBLISHED = "silero_vad_op18_ifless.onnx"

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


def listen_as_published(windows: Float32) -> tuple[Float32, Float32]:
    """The same, by the model's own file."""
    session = onnxruntime.InferenceSession(str(resolve("silero-vad") / PUBLISHED))
    states = np.zeros((windows.shape[1], 320), np.float32)
    heard = []
    for step in windows:
        audio, recurrent = unpacked(step, states)
        feed = {"input": audio, "sr": np.array(16_000, np.int64), "state": recurrent}
        probability, recurrent = session.run(["output", "stateN"], feed)
        heard.append(probability[:, 0])
        states = packed(step, recurrent)
    return np.array(heard), states


@pytest.mark.parametrize("sessions", [1, 8, 32])
def test_the_quick_graph_hears_what_the_published_one_hears(readers: Reader, sessions: int) -> None:
    """Of 44 s of reading; measured: 3e-6 apart at most."""
    audio = to_float32(readers("two_cities"))
    steps = len(audio) // (sessions * WINDOW)
    windows = audio[: sessions * steps * WINDOW].reshape(sessions, steps, WINDOW).swapaxes(0, 1)
    expected, _ = listen_as_published(windows)
    heard, _ = listen(opened("silero"), windows)
    assert expected.max() > 0.9
    np.testing.assert_allclose(heard, expected, atol=1e-5)


def test_a_step_leaves_the_state_that_the_published_graph_leaves(readers: Reader) -> None:
    """Of one step: a recurrent model's states drift apart by more than what it says of them."""
    audio = to_float32(readers("beckett")[: 80 * WINDOW]).reshape(80, 1, WINDOW)
    _, expected = listen_as_published(audio)
    engine = opened("silero")
    _, before = listen_as_published(audio[:79])
    _, after = engine.step(audio[79], before)
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_another_model_is_not_taken_for_it(tmp_path: Path) -> None:
    file = tmp_path / "other.onnx"
    graph = onnx.helper.make_graph([], "other", [], [])
    onnx.save(onnx.helper.make_model(graph), file)
    engine = create(Settings(vad_engine="silero", vad_model=str(file))).vad
    with pytest.raises(CannotStart, match=r"other\.onnx must be Silero VAD .* it lacks"):
        engine.load()


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
