"""Recognition of several sessions' utterances together: the starter model, a question of 3 s."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from shared.audio import SAMPLE_RATE, read_wav, resample
from shared.settings import Settings
from workers.stt.engines import SttEngine, Utterance, create

QUESTION = Path(__file__).parent.parent.parent / "tests/data/question.wav"


@pytest.fixture(scope="module")
def engine() -> Iterator[SttEngine]:
    engine = create(Settings(profile="cpu"))
    engine.load()
    yield engine
    engine.close()


@pytest.mark.benchmark(group="recognition, a batch of utterances", min_rounds=5, warmup=False)
@pytest.mark.parametrize("utterances", [1, 2, 4, 8])
def test_batch(benchmark: BenchmarkFixture, engine: SttEngine, utterances: int) -> None:
    samples, rate = read_wav(QUESTION)
    batch = [Utterance(resample(samples, rate, SAMPLE_RATE), "en")] * utterances
    transcripts = benchmark(engine.transcribe, batch)
    assert all("France" in transcript.text for transcript in transcripts)
