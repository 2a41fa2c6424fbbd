"""A conversation whose answers MeloTTS speaks, in a worker with an environment of its own."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.spoken import ask, check_order
from tests.support.up import Up, running

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".engines/melo/bin/python"

pytestmark = [pytest.mark.melo_engine, pytest.mark.timeout(600)]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A Parley with an untrained checkpoint of MeloTTS's, and no other model."""
    make = [str(PYTHON), "-m", "tests.engines.melo_checkpoint", str(tmp_path)]
    made = json.loads(subprocess.check_output(make, cwd=ROOT))
    settings = {**made, "PARLEY_TTS_ENGINE": "melo", "PARLEY_TTS_PYTHON": str(PYTHON)}
    with running(tmp_path / "data", "instant", **settings) as started:
        yield started


async def test_melo_answers_from_its_own_environment(up: Up) -> None:
    worker = up.child("workers.tts")
    assert worker is not None
    assert worker.cmdline()[0] == str(PYTHON)
    for _ in range(2):
        turn = await ask(up.url, "question.wav")
        check_order(turn)
        # Untrained, it makes noise: of a length for what is said, and not silence.
        assert 12_000 < len(turn.samples) < 24_000 * 30
        assert turn.samples.any()
