"""When a turn begins and ends, as a function of speech probabilities alone."""

from hypothesis import given
from hypothesis import strategies as st

from shared.messages import TurnDetection
from workers.vad.endpointing import BEGIN_WINDOWS, Edge, Endpointing, step
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
