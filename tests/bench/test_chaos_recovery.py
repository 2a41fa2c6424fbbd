"""How long a turn waited for a fault, and whose fault it was."""

import math

import pytest

from bench.chaos.faults import Action, Kind, Target
from bench.chaos.recovery import Served, Struck, Timeline, quantile, recoveries, strikes, wait_s
from bench.chaos.sampling import Series, slope, trend

# said from 0 to 1 s, committed at 1.1, transcribed at 1.2, text from 1.4 to 1.6, audio from 1.7
PROGRESS = (
    (1.1, "committed"),
    (1.2, "transcribed"),
    (1.3, "created"),
    (1.4, "text"),
    (1.6, "text"),
    (1.7, "audio"),
    (1.8, "audio"),
    (2.0, "done"),
)


def timeline(session: int = 0, delay_s: float = 0.0, after_s: float = math.inf) -> Timeline:
    """A turn in which everything after `after_s` came `delay_s` late."""
    progress = [(at_s + delay_s * (at_s > after_s), step) for at_s, step in PROGRESS]
    served = [Served(0, 0.0, 1.5), Served(1, 1.55, math.inf)]
    return Timeline(session, 0, 0.0, 1.0, progress, served)  # type: ignore[arg-type]


def fault(target: Target, at_s: float, lasts_s: float = 0.0, index: int = 0) -> Struck:
    action: Action = "kill"
    return Struck(Kind(action, target), at_s, at_s + lasts_s, at_s + lasts_s, "victim", index)


@pytest.mark.parametrize(
    ("target", "at_s", "struck"),
    [
        ("vad", 0.5, True),
        ("vad", 1.15, False),
        ("stt", 1.15, True),
        ("stt", 1.25, False),
        ("llm", 1.5, True),
        ("llm", 1.65, False),
        ("tts", 1.65, True),
        ("tts", 1.75, False),
        ("broker", 1.9, True),
        ("broker", 2.1, False),
    ],
)
def test_a_stage_strikes_the_turns_it_works_for(target: Target, at_s: float, struck: bool) -> None:
    assert strikes(fault(target, at_s), timeline()) is struck


def test_a_fault_that_lasts_strikes_what_comes_meanwhile() -> None:
    assert strikes(fault("stt", 0.5, lasts_s=0.7), timeline())
    assert not strikes(fault("stt", 0.5, lasts_s=0.3), timeline())


def test_a_gateway_strikes_the_clients_that_it_serves() -> None:
    assert strikes(fault("gateway", 0.5, index=0), timeline())
    assert not strikes(fault("gateway", 0.5, index=1), timeline())
    assert strikes(fault("gateway", 1.7, index=1), timeline())


def test_a_network_strikes_its_own_client() -> None:
    assert strikes(fault("client", 0.5, index=3), timeline(session=3))
    assert not strikes(fault("client", 0.5, index=3), timeline(session=4))


def test_the_wait_is_the_longest_time_in_which_nothing_came() -> None:
    late = timeline(delay_s=2.0, after_s=1.3)
    assert wait_s(fault("llm", 1.35), late) == pytest.approx(2.05)
    assert wait_s(fault("llm", 2.0), late) == pytest.approx(1.4)


def test_nobody_waits_who_still_speaks() -> None:
    assert wait_s(fault("vad", 0.1), timeline()) == pytest.approx(0.2)


def test_a_turn_that_was_struck_twice_counts_for_the_worst_alone() -> None:
    late = timeline(delay_s=3.0, after_s=1.3)
    [llm, stt] = recoveries([fault("stt", 1.15, lasts_s=0.3), fault("llm", 1.35)], [late])
    assert (llm.turns, list(llm.alone_s)) == (1, [])
    assert (stt.turns, list(stt.alone_s)) == (1, [])
    assert [llm.worst_s, stt.worst_s] == pytest.approx([3.05, 3.1])


def test_a_gateway_has_no_recovery_to_itself_while_another_is_away() -> None:
    [recovery] = recoveries(
        [fault("gateway", 0.0, 1.2, index=1), fault("gateway", 1.1)], [timeline()]
    )
    assert (recovery.turns, list(recovery.alone_s)) == (1, [])


def test_a_fault_recovers_as_slowly_as_the_slowest_of_its_turns() -> None:
    turns = [timeline(session) for session in range(3)] + [timeline(3, 2.0, 1.3)]
    [recovery] = recoveries([fault("llm", 1.35), fault("llm", 9.0)], turns)
    assert (recovery.faults, recovery.turns) == (2, 4)
    assert list(recovery.alone_s) == pytest.approx([2.05])


def test_quantiles_are_values_that_were_measured() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.5, 0.95, 1.0)] == [2.0, 3.0, 3.0]
    assert quantile([], 0.5) is None


def test_a_slope_is_found_in_noise() -> None:
    assert slope([0, 1, 2, 3], [5, 7, 9, 11]) == pytest.approx(2.0)


def test_a_trend_begins_after_warming_up() -> None:
    series = Series("process")
    series.times_s = [36.0 * step for step in range(101)]
    series.memory = [50_000_000] * 20 + [100_000_000 + 10_000 * step for step in range(81)]
    series.things = [10] * 101
    found = trend(series)
    assert found is not None
    assert found.mb_per_hour == pytest.approx(1.0)
    assert [found.hours, found.first_mb] == pytest.approx([0.8, 100.0])
    assert trend(Series("process", [0.0, 1.0], [1, 1], [1, 1])) is None
