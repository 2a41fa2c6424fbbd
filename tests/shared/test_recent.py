"""Percentiles of the last minutes, and of several processes together."""

import random

import pytest

from shared.recent import WINDOW_S, Recent, merged, percentile_ms


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def exact(durations: list[float], percent: int) -> float:
    return sorted(durations)[-(-len(durations) * percent // 100) - 1]


@pytest.mark.parametrize("percent", [1, 50, 95, 99, 100])
def test_a_percentile_is_right_to_two_percent(percent: int) -> None:
    durations = [random.Random(percent).lognormvariate(6, 1) for _ in range(2000)]
    recent = Recent()
    for duration_ms in durations:
        recent.add(duration_ms)
    assert percentile_ms(recent.counts(), percent) == pytest.approx(
        exact(durations, percent), rel=0.0201
    )


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile_ms(Recent().counts(), 50) is None
    assert percentile_ms(merged([]), 50) is None


def test_what_took_no_time_or_for_ever_counts_too() -> None:
    recent = Recent()
    for duration_ms in (0.0, -5.0, 1e12):
        recent.add(duration_ms)
    counts = recent.counts()
    assert sum(counts.values()) == 3
    assert percentile_ms(counts, 50) == pytest.approx(1, abs=0.03)
    assert percentile_ms(counts, 100) == pytest.approx(600_000, rel=0.0201)


def test_percentiles_of_several_processes_are_those_of_all_their_durations() -> None:
    quick, slow, both = Recent(), Recent(), Recent()
    for number in range(90):
        quick.add(100 + number)
        both.add(100 + number)
    for number in range(10):
        slow.add(2000 + number)
        both.add(2000 + number)
    together = merged([quick.counts(), slow.counts()])
    assert together == both.counts()
    assert percentile_ms(together, 95) == pytest.approx(2004, rel=0.0201)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.add(100)
    clock.now_s += WINDOW_S - 10
    recent.add(200)
    assert sum(recent.counts().values()) == 2
    clock.now_s += 10
    assert [*recent.counts().values()] == [1]
    assert percentile_ms(recent.counts(), 100) == pytest.approx(200, rel=0.0201)
    clock.now_s += WINDOW_S
    assert recent.counts() == {}
