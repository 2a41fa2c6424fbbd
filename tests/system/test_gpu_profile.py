"""The engines of the gpu profile in one conversation: here on the CPU, which all of them can use.

Speech comes from Piper: MeloTTS has an environment of its own, and tests there.
"""

from collections.abc import Iterator

import pytest

from tests.engines.smollm2 import checkpoint
from tests.support.spoken import QUESTIONS, ask, check_order, check_spoken
from tests.support.up import Up, running
from tests.support.words import word_error_rate

pytestmark = [pytest.mark.torch_engine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    settings = {
        "PARLEY_DEVICE": "cpu",
        "PARLEY_LLM_MODEL": checkpoint(),
        "PARLEY_LLM_MAX_TOKENS": "40",  # so small a model may go round in circles
        "PARLEY_TTS_ENGINE": "piper",
        "PARLEY_SILENCE_MS": "300",
    }
    with running(tmp_path_factory.mktemp("gpu") / "data", "gpu", **settings) as started:
        yield started


async def test_a_spoken_question_gets_a_spoken_answer(up: Up) -> None:
    turns = [await ask(up.url, name) for name in QUESTIONS]
    for turn, said in zip(turns, QUESTIONS.values(), strict=True):
        assert word_error_rate(said, turn.heard) <= 0.10
        check_order(turn)
    check_spoken(turns)
