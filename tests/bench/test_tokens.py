"""What the benchmark of language models says of answers."""

from bench.tokens import Told, at_once, row
from shared.settings import Settings
from workers.llm.engines import create


async def test_every_answer_is_timed_and_counted() -> None:
    engine = create(Settings(llm_engine="paced", paced_token_ms=1))
    answers = await at_once(engine, "Be brief.", count=8, tokens=5)
    assert [answer.tokens for answer in answers] == [5] * 8
    assert all(0 < answer.first_s < answer.whole_s for answer in answers)


def test_a_row_adds_up_answers_given_at_once() -> None:
    assert row([Told(0.1, 1.0, 10), Told(0.3, 2.0, 30)]) == (
        "2",
        "40",
        "20.0",
        "12.5",
        "200",
        "300",
    )
