"""What every VAD engine does, with real models and recordings."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.audio import Float32, Int16, to_float32
from shared.models import ModelMissing
from tests.engines.cases import Case, cases, prepared
from tests.engines.conftest import at_once, close_at_work
from workers.vad.engines import WINDOW, VadEngine, create

Reader = Callable[[str], Int16]


@pytest.fixture(scope="module", params=cases("vad"))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VadEngine]:
    with prepared("vad", request.param, tmp_path_factory.mktemp("vad")) as settings:
        loaded = create(settings).vad
        loaded.load()
        yield loaded
        loaded.close()


@pytest.fixture(scope="module")
def reading(readers: Reader) -> Float32:
    """Ten seconds of somebody reading, float32 (frames, 512)."""
    return frames(readers("beckett"))


def frames(audio: Int16) -> Float32:
    whole = len(audio) // WINDOW * WINDOW
    return to_float32(audio[:whole]).reshape(-1, WINDOW)


def listen(engine: VadEngine, audio: Float32) -> Float32:
    """How likely each frame of (frames, 512) is speech, heard alone and in order."""
    state = engine.initial_state()[None]
    heard = []
    for frame in audio:
        probability, state = engine.step(frame[None], state)
        heard.append(probability[0])
    return np.array(heard, np.float32)


def test_no_session_is_a_step_like_any_other(engine: VadEngine) -> None:
    probability, state = engine.step(
        np.zeros((0, WINDOW), np.float32), np.zeros((0, engine.STATE), np.float32)
    )
    assert probability.shape == (0,)
    assert state.shape == (0, engine.STATE)


def test_shapes_and_types_are_those_of_the_interface(engine: VadEngine) -> None:
    assert engine.initial_state().shape == (engine.STATE,)
    states = np.stack([engine.initial_state()] * 3)
    probability, after = engine.step(np.zeros((3, WINDOW), np.float32), states)
    assert probability.shape == (3,)
    assert after.shape == states.shape
    assert probability.dtype == after.dtype == np.float32


def test_silence_is_no_speech(engine: VadEngine) -> None:
    assert listen(engine, np.zeros((100, WINDOW), np.float32)).max() < 0.3


def test_somebody_reading_is_speech(engine: VadEngine, reading: Float32) -> None:
    heard = listen(engine, reading)
    assert (heard > 0.5).mean() > 0.3
    assert (heard < 0.3).mean() > 0.1  # between the sentences


def test_a_long_recording_stays_a_probability(engine: VadEngine, readers: Reader) -> None:
    heard = listen(engine, frames(readers("two_cities")))
    assert len(heard) > 1300
    assert np.isfinite(heard).all()
    assert heard.min() >= 0
    assert heard.max() <= 1


def test_together_is_as_alone(engine: VadEngine, reading: Float32) -> None:
    starts = [0, 40, 80, 120]
    alone = [listen(engine, reading[start : start + 40]) for start in starts]
    states = np.stack([engine.initial_state() for _ in starts])
    together = []
    for step in range(40):
        audio = np.stack([reading[start + step] for start in starts])
        probability, states = engine.step(audio, states)
        together.append(probability)
    np.testing.assert_allclose(np.stack(together, axis=1), np.stack(alone), atol=1e-4)


def test_a_state_that_travelled_goes_on_as_before(engine: VadEngine, reading: Float32) -> None:
    whole = listen(engine, reading[:80])
    state = engine.initial_state()[None]
    for frame in reading[:40]:
        _, state = engine.step(frame[None], state)
    travelled = np.frombuffer(state[0].tobytes(), np.float32)
    probability, _ = engine.step(reading[40][None], travelled[None])
    assert probability[0] == pytest.approx(whole[40], abs=1e-5)


def test_two_threads_at_once(engine: VadEngine, reading: Float32) -> None:
    expected = listen(engine, reading)
    for heard in at_once(lambda _: listen(engine, reading), [1, 2]):
        np.testing.assert_allclose(heard, expected, atol=1e-5)


@pytest.mark.parametrize("case", cases("vad", loads=True))
def test_it_works_between_load_and_close(case: Case, tmp_path: Path) -> None:
    with prepared("vad", case, tmp_path) as settings:
        engine = create(settings).vad
        window = (np.zeros((1, WINDOW), np.float32), engine.initial_state()[None])
        with pytest.raises(RuntimeError, match=f"{engine.name} engine is not loaded"):
            engine.step(*window)
        engine.load()
        for why in close_at_work(lambda: engine.step(*window), engine.close):
            assert f"{engine.name} engine is not loaded" in why


@pytest.mark.parametrize("case", cases("vad", loads=True))
def test_a_model_that_is_missing_is_named(case: Case, tmp_path: Path) -> None:
    with prepared("vad", case, tmp_path, vad_model="no-such-model") as settings:
        engine = create(settings).vad
        with pytest.raises(ModelMissing, match="'no-such-model'"):
            engine.load()
