"""When a turn begins and ends, as a function of speech probabilities alone."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import TurnDetection
from workers.vad.endpointing import BEGIN_WINDOWS, Edge, Endpointing, answered, step
from workers.vad.engines import WINDOW

RULES = TurnDetection(threshold=0.5, silence_ms=320)  # ten windows
probabilities = st.lists(st.floats(0, 1), max_size=200)


def edges(values: list[float], rules: TurnDetection = RULES) -> list[Edge]:
    state, found = Endpointing(), []
    for number, value in enumerate(values):
        state, edge = step(state, number * WINDOW, value, rules)
        if edge is not None:
            found.append(edge)
    return found


def test_speech_begins_where_its_first_window_is() -> None:
    assert edges([0.1, 0.1, 0.9, 0.9, 0.9]) == [Edge("began", 2 * WINDOW)]


def test_a_click_is_not_speech() -> None:
    assert edges([0.1, 0.9, 0.9, 0.1] * 20) == []


def test_speech_ends_where_the_silence_began_once_it_is_long_enough() -> None:
    spoken = [0.9] * 5
    assert edges(spoken + [0.1] * 9) == [Edge("began", 0)]
    assert edges(spoken + [0.1] * 10) == [Edge("began", 0), Edge("ended", 5 * WINDOW)]


def test_a_pause_shorter_than_the_silence_does_not_end_the_turn() -> None:
    assert edges(([0.9] * 5 + [0.1] * 9) * 10) == [Edge("began", 0)]


def test_between_the_thresholds_silence_neither_begins_nor_is_broken() -> None:
    hesitating = [0.9] * 5 + [0.4] * 50
    assert edges(hesitating) == [Edge("began", 0)]
    assert edges([0.9] * 5 + [0.1] + [0.4] * 9)[-1] == Edge("ended", 5 * WINDOW)


def test_no_silence_at_all_ends_a_turn_at_its_first_quiet_window() -> None:
    rules = TurnDetection(silence_ms=0)
    assert edges([0.9] * 4 + [0.0], rules)[-1] == Edge("ended", 4 * WINDOW)


@given(probabilities)
def test_beginnings_and_ends_take_turns_and_go_forward(values: list[float]) -> None:
    found = edges(values)
    assert [edge.kind for edge in found] == ["began", "ended"] * (len(found) // 2) + ["began"] * (
        len(found) % 2
    )
    positions = [edge.at for edge in found]
    assert positions == sorted(positions)


@given(probabilities)
def test_every_turn_has_enough_speech_and_every_end_enough_silence(values: list[float]) -> None:
    for edge in edges(values):
        first = edge.at // WINDOW
        if edge.kind == "began":
            assert all(value >= 0.5 for value in values[first : first + BEGIN_WINDOWS])
        else:
            assert values[first] < 0.5
            assert all(value < 0.5 for value in values[first : first + 10])


# --- where a model is asked ---

Eagerness = Literal["low", "medium", "high"]
WAITS_MS: dict[Eagerness, int] = {"low": 8000, "medium": 4000, "high": 2000}
SPOKEN = [0.9] * 5


def asked(
    values: list[float], eagerness: Eagerness, answers: Iterable[float]
) -> tuple[list[Edge], list[float]]:
    """What begins and ends, and after which silences, in ms, the model was asked."""
    rules = TurnDetection(eagerness=eagerness)
    says: Iterator[float] = iter(answers)
    state, found, silences = Endpointing(), [], []
    for number, value in enumerate(values):
        state, edge = step(state, number * WINDOW, value, rules)
        if state.asking:
            assert edge is None
            silences.append(((number + 1) * WINDOW - state.quiet_from) / 16)
            state, edge = answered(state, next(says))
            assert not state.asking
        if edge is not None:
            found.append(edge)
    return found, silences


@pytest.mark.parametrize("eagerness", WAITS_MS)
def test_a_turn_that_is_over_ends_at_the_first_question(eagerness: Eagerness) -> None:
    found, silences = asked(SPOKEN + [0.1] * 300, eagerness, repeat(0.5))
    assert found == [Edge("began", 0), Edge("ended", 5 * WINDOW)]
    assert silences == [224]  # the first window that ends beyond 200 ms


@pytest.mark.parametrize("eagerness", WAITS_MS)
def test_a_turn_that_is_not_over_ends_after_the_longest_wait(eagerness: Eagerness) -> None:
    longest_ms = WAITS_MS[eagerness]
    windows = -(-longest_ms // 32)
    found, silences = asked(SPOKEN + [0.1] * (windows - 1), eagerness, repeat(0.49))
    assert found == [Edge("began", 0)]
    due_ms = [200, longest_ms // 4, longest_ms // 2, longest_ms * 3 // 4]
    assert len(silences) == 4
    assert all(0 <= at - due < 32 for at, due in zip(silences, due_ms, strict=True))
    found, _ = asked(SPOKEN + [0.1] * windows, eagerness, repeat(0.49))
    assert found == [Edge("began", 0), Edge("ended", 5 * WINDOW)]


def test_a_later_question_may_end_the_turn() -> None:
    found, silences = asked(SPOKEN + [0.1] * 300, "high", [0.1, 0.2, 0.9])
    assert found[-1] == Edge("ended", 5 * WINDOW)
    assert silences == [224, 512, 1024]


def test_who_goes_on_is_asked_about_anew() -> None:
    pauses = SPOKEN + [0.1] * 10
    found, silences = asked(pauses * 3, "low", [0.1, 0.1, 0.9])
    assert found == [Edge("began", 0), Edge("ended", (2 * 15 + 5) * WINDOW)]
    assert silences == [224, 224, 224]


def test_nobody_is_asked_about_short_pauses_or_where_silence_alone_decides() -> None:
    assert asked((SPOKEN + [0.1] * 6) * 5, "high", []) == ([Edge("began", 0)], [])
    assert edges(SPOKEN + [0.1] * 10)[-1].kind == "ended"


@given(probabilities, st.sampled_from(sorted(WAITS_MS)), st.lists(st.floats(0, 1), min_size=200))
def test_with_a_model_too_every_end_has_a_silence(
    values: list[float], eagerness: Eagerness, answers: list[float]
) -> None:
    found, silences = asked(values, eagerness, answers)
    assert [edge.kind for edge in found] == (["began", "ended"] * len(found))[: len(found)]
    assert all(silence >= 200 for silence in silences)
    for edge in found[1::2]:
        first = edge.at // WINDOW
        assert all(value < 0.5 for value in values[first : first + 7])
