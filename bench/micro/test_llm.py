"""What the LLM worker's own work on an answer costs."""

import re

from pytest_benchmark.fixture import BenchmarkFixture

from workers.llm.splitter import Splitter

_ANSWER = (
    "Once there was a lighthouse keeper, Mr. Gray, who counted the ships. Every evening he wrote "
    "their names into a book; one night, at 9.30, the book was full. So he began to count stars. "
) * 4


def test_splitting_an_answer_into_segments(benchmark: BenchmarkFixture) -> None:
    """An answer of 140 words, fed word by word as a model writes it."""
    words = re.findall(r"\S+\s*", _ANSWER)

    def split() -> int:
        splitter = Splitter()
        return sum(piece.complete for word in words for piece in splitter.feed(word))

    segments = benchmark(split)
    assert segments > 4
