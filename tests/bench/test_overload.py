"""What the records of an overload come to."""

import pytest

from bench.load.record import Ended, Record, Turn
from bench.overload import NEWCOMERS, Result, outcome, page

CROWD_S = 1_000.0


def talked() -> list[Record]:
    """A turn that warms up and one more before the crowd, ten since, of which one had no audio."""
    before: list[Record] = [
        Turn(session=0, number=0, asked_s=CROWD_S - 20, audio_ms=9_000),
        Turn(session=0, number=1, asked_s=CROWD_S - 10, audio_ms=1_000),
    ]
    during = [
        Turn(session=0, number=2 + n, asked_s=CROWD_S + 10 * n, audio_ms=1_200) for n in range(9)
    ]
    lost = Turn(session=0, number=11, asked_s=CROWD_S + 90, problem="no whole answer in time")
    return [*before, *during, lost, Ended(session=0)]


def came() -> list[Record]:
    refused = [Ended(session=n, refused=True, problem="HTTP 503") for n in range(3)]
    return [*refused, Ended(session=3, problem="TimeoutError"), Ended(session=4)]


def test_both_are_counted_and_no_answer_is_a_late_one() -> None:
    found = outcome(talked(), came(), CROWD_S)
    assert (found.before.count, found.before.p95) == (1, 1_000)
    assert found.during.count == 10
    assert found.during.p50 == 1_200
    assert found.during.most == pytest.approx(6_480, abs=100)  # ten seconds less the question
    assert found.ratio == found.during.p95 / 1_000 > 1.2
    assert (found.refused, found.lost, found.unanswered) == (3, 1, 1)
    assert found.let_in == NEWCOMERS - 4


def test_who_talks_must_be_let_in() -> None:
    with pytest.raises(ValueError, match="must be let in"):
        outcome([*talked(), Ended(session=1, refused=True, problem="HTTP 503")], came(), CROWD_S)


def test_the_page_compares() -> None:
    found = outcome(talked(), came(), CROWD_S)
    result = Result(
        bottleneck="llm",
        capacity=60,
        talking=42,
        without=found,
        **{field: getattr(found, field) for field in found.__struct_fields__},
    )
    assert "| p50 while they come, ms | 1200 | 1200 |" in page(result)
    assert "| newcomers refused | 3 | 3 |" in page(result)
