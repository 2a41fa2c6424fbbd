"""The schedule of faults follows from its seed and keeps within its bounds."""

import itertools
from collections import Counter

import pytest

from bench.chaos.faults import GROUPS, KINDS, PROCESSES, Fault, kinds_of, schedule


def first(count: int, groups: str = "all", seed: int = 1, most: int = 3) -> list[Fault]:
    return list(itertools.islice(schedule(seed, kinds_of(groups), 1.5, most), count))


def test_a_seed_is_a_schedule() -> None:
    assert first(200) == first(200)
    assert first(200) != first(200, seed=2)


def test_every_process_is_killed_stopped_and_told_to_end() -> None:
    struck = {(fault.kind.target, fault.kind.action) for fault in first(1_000)}
    assert struck >= set(itertools.product(PROCESSES, ("kill", "stop", "term")))
    assert struck == {(kind.target, kind.action) for kind in KINDS}


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_at_once_than_asked_for_and_one_at_the_broker(most: int) -> None:
    faults = first(500, most=most)
    for fault in faults:
        going_on = [each for each in faults if each.at_s <= fault.at_s < each.busy_until_s]
        assert len(going_on) <= most
        assert sum(each.kind.target == "broker" for each in going_on) <= 1


def test_they_come_as_often_as_asked_for_where_there_is_room() -> None:
    faults = first(1_000, most=1_000)
    assert 1.3 < faults[-1].at_s / 1_000 < 1.7
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(faults))


def test_the_broker_is_struck_less_often() -> None:
    counts = Counter(str(fault.kind) for fault in first(4_000))
    assert counts["kill broker"] < 0.6 * counts["kill vad"]


@pytest.mark.parametrize("group", GROUPS)
def test_groups_can_be_chosen(group: str) -> None:
    assert {fault.kind.group for fault in first(50, group)} == {group}


def test_none_is_none() -> None:
    assert first(1, "none") == []


def test_an_unknown_group_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"must be all, none, or some of workers.*'weather'"):
        kinds_of("workers,weather")
