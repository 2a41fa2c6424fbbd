"""The waterfall of a turn."""

import io
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.waterfall import STAGES, TOTAL, Row, median, table, waterfall
from shared.messages import MARKS

TURN = dict(
    zip(MARKS, [5_000, 5_332, 5_335, 5_500, 5_504, 5_604, 5_700, 5_702, 5_850, 5_853], strict=True)
)


def test_every_mark_but_the_first_ends_a_stage() -> None:
    assert tuple(STAGES) == MARKS[1:]


def test_a_whole_turn() -> None:
    rows = waterfall(TURN)
    assert rows[0] == Row("end-of-turn silence and decision", 0, 332)
    assert rows[2] == Row("recognition", 335, 165)
    assert rows[-2] == Row("delivery", 850, 3)
    assert rows[-1] == Row(TOTAL, 0, 853)


def test_a_missing_mark_leaves_its_time_to_the_next_stage() -> None:
    rows = waterfall({name: at for name, at in TURN.items() if name != "stt_start"})
    assert Row("recognition", 332, 168) in rows
    assert rows[-1] == Row(TOTAL, 0, 853)


def test_no_total_without_audio_and_nothing_without_speech() -> None:
    assert waterfall({"speech_end": 0, "turn_end": 300})[-1].stage == STAGES["turn_end"]
    assert waterfall({"turn_end": 300, "audio_out": 900}) == []
    assert waterfall({}) == []


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(MARKS), st.integers(0, 10_000)))
def test_stages_add_up(marks: dict[str, int]) -> None:
    rows = waterfall(marks)
    stages = [row for row in rows if row.stage != TOTAL]
    assert all(row.duration_ms >= 0 for row in rows)
    assert all(a.start_ms + a.duration_ms == b.start_ms for a, b in pairwise(stages))
    if rows and rows[-1].stage == TOTAL:
        assert rows[-1].duration_ms == sum(row.duration_ms for row in stages)


def test_the_median_is_taken_stage_by_stage() -> None:
    turns = [
        waterfall({"speech_end": 0, "turn_end": 300 + extra, "audio_out": 900 + 2 * extra})
        for extra in (0, 10, 200)
    ]
    rows = median(turns)
    assert [row.duration_ms for row in rows] == [310, 610, 920]
    assert [row.stage for row in rows] == [STAGES["turn_end"], STAGES["audio_out"], TOTAL]
    assert median([]) == []


@pytest.mark.parametrize("rows", [waterfall(TURN), []])
def test_it_is_drawn_on_a_terminal_of_eighty_columns(rows: list[Row]) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(table(rows, "where the time went"))
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    assert all(len(line) <= 80 for line in drawn.splitlines())
    for row in rows:
        assert row.stage in drawn
        assert f"{row.duration_ms:.0f}" in drawn
