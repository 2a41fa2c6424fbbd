"""What every engine does that tells whether a turn is over."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.audio import Int16
from shared.models import ModelMissing
from tests.engines.cases import Case, cases, prepared
from tests.engines.conftest import at_once, close_at_work
from workers.vad.engines import TURN_SAMPLES, TurnEngine, create

Reader = Callable[[str], Int16]


@pytest.fixture(scope="module", params=cases("turn"))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TurnEngine]:
    with prepared("turn", request.param, tmp_path_factory.mktemp("turn")) as settings:
        loaded = create(settings).turns
        loaded.load()
        yield loaded
        loaded.close()


@pytest.mark.parametrize("samples", [1, 159, 16_000, TURN_SAMPLES])
def test_any_turn_gets_a_probability(engine: TurnEngine, readers: Reader, samples: int) -> None:
    for turn in (readers("two_cities")[:samples], np.zeros(samples, np.int16)):
        over = engine.over([turn])
        assert over.shape == (1,)
        assert over.dtype == np.float32
        assert 0 <= over[0] <= 1


def test_together_is_as_alone(engine: TurnEngine, readers: Reader) -> None:
    reading = readers("two_cities")
    turns = [reading[start : start + 40_000 + start] for start in (0, 16_000, 48_000)]
    alone = [float(engine.over([turn])[0]) for turn in turns]
    assert engine.over(turns).tolist() == pytest.approx(alone, abs=1e-5)


def test_the_same_turn_gets_the_same_answer_from_any_thread(
    engine: TurnEngine, readers: Reader
) -> None:
    turn = readers("beckett")[:60_000]
    answers = at_once(lambda _: float(engine.over([turn])[0]), [1, 2, 3])
    assert len(set(answers)) == 1


@pytest.mark.parametrize("case", cases("turn", loads=True))
def test_it_works_between_load_and_close(case: Case, tmp_path: Path) -> None:
    turn = np.zeros(16_000, np.int16)
    with prepared("turn", case, tmp_path) as settings:
        engine = create(settings).turns
        with pytest.raises(RuntimeError, match=f"{engine.name} engine is not loaded"):
            engine.over([turn])
        engine.load()
        for why in close_at_work(lambda: engine.over([turn]), engine.close):
            assert f"{engine.name} engine is not loaded" in why


@pytest.mark.parametrize("case", cases("turn", loads=True))
def test_a_model_that_is_missing_is_named(case: Case, tmp_path: Path) -> None:
    with prepared("turn", case, tmp_path, turn_model="no-such-model") as settings:
        engine = create(settings).turns
        with pytest.raises(ModelMissing, match="'no-such-model'"):
            engine.load()
