"""docs/performance.md: what is measured for it, what is read from it, and how it is written."""

import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.performance.goals import GOALS, Goal, Judged, before_doubling, judged, most_sessions
from bench.performance.machine import machine
from bench.performance.markdown import figure
from bench.performance.measuring import measure
from bench.performance.page import Notes, goal_table, notes, page
from bench.performance.plots import plots
from bench.performance.results import Results, Unreadable
from bench.performance.sections import SECTIONS
from bench.performance.steps import PARTS, STEPS, Step
from tests.bench.performance_results import run, write

ROOT = Path(__file__).parent.parent.parent
_MOST_BYTES = 300_000


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return write(tmp_path)


def _never(results: Results) -> float:
    raise AssertionError("a goal's figure is read once, when it is judged")


def test_every_part_is_measured_and_shown() -> None:
    assert tuple(SECTIONS) == PARTS
    assert {goal.part for goal in GOALS} <= set(PARTS)
    assert len({goal.name for goal in GOALS}) == len(GOALS)
    assert sum(step.minutes for step in STEPS) <= 30


def test_notes_are_of_goals_and_parts_that_there_are() -> None:
    written = notes()
    assert set(written.goals) <= {goal.name for goal in GOALS}
    assert set(written.parts) <= set(PARTS)


def test_a_goal_is_met_at_its_limit_and_missed_beyond() -> None:
    slow, fast = Goal("a", "a", _never, 10), Goal("b", "b", _never, 10, at_least=True)
    assert [Judged(slow, value).met for value in (9, 10, 11)] == [True, True, False]
    assert [Judged(fast, value).met for value in (9, 10, 11)] == [False, True, True]
    assert Judged(Goal("c", "c", _never), 11).met is None


def test_the_goals_say_by_how_much_they_were_missed_and_why() -> None:
    goals = [
        Judged(Goal("a", "p50", _never, 8, "ms"), 10.5),
        Judged(Goal("b", "sessions", _never, 300, at_least=True), 300),
        Judged(Goal("c", "most", _never), 7),
    ]
    shown = goal_table(goals, Notes(goals={"a": "The window."}))
    assert "| 1 | p50 | ≤ 8 ms | 10.5 ms | no, by 2.5 ms |" in shown
    assert "| 2 | sessions | ≥ 300 | 300 | yes |" in shown
    assert "| 3 | most | to be stated | 7 |  |" in shown
    assert "- 1: The window." in shown


def test_a_gateway_is_full_where_p99_doubles_or_somebody_is_not_answered() -> None:
    waits_ms = {100: 340, 200: 350, 300: 359, 400: 420, 500: 330}
    runs = [run(sessions, voice_ms) for sessions, voice_ms in waits_ms.items()]
    assert before_doubling(runs) == 300
    runs[1].refused = 1
    assert before_doubling(runs) == 100
    with pytest.raises(Unreadable, match="no run of 100 sessions"):
        before_doubling(runs[1:])


def test_capacity_is_the_largest_run_within_the_bound() -> None:
    runs = [run(4), run(8, 2_600), run(6, 2_000)]
    assert most_sessions(runs) == 6
    assert most_sessions([run(1, 3_000)]) == 0


def test_figures_have_as_many_digits_as_they_are_worth() -> None:
    assert [figure(value) for value in (0, 0.123, 3, 12.34, 1234.5)] == [
        *("0", "0.12", "3", "12.3", "1,234"),
    ]
    assert figure(8, "ms") == "8 ms"


def test_the_page_shows_every_goal_part_and_plot(results: Results) -> None:
    pictures = plots(results)
    shown = page(results, judged(results), notes(), pictures)
    for goal in GOALS:
        assert f"| {goal.what} |" in shown
    for section in SECTIONS.values():
        assert f"## {section.title}\n" in shown
    assert set(re.findall(r"\(performance/([\w-]+)\.png\)", shown)) == set(pictures)
    for step in STEPS:
        assert step.command in shown
    assert sum(map(len, pictures.values())) < _MOST_BYTES
    assert "measured 2026-01-02 at abcdef" in shown


def test_the_page_names_no_machine(results: Results) -> None:
    shown = page(results, judged(results), notes(), [])
    for private in (platform.node(), str(ROOT), str(Path.home())):
        assert private not in shown, private
    assert machine().cores > 0


def test_what_was_not_measured_is_named(results: Results) -> None:
    results.path("whole-one").unlink()
    with pytest.raises(Unreadable, match=r"whole-one was not measured: .* --only whole"):
        judged(results)
    results.path("whole-one").write_text('[{"answered": "many"}]')
    with pytest.raises(Unreadable, match="whole-one is not what its tool should write"):
        judged(results)


def test_one_step_that_fails_stops_no_other(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("[1]")
    steps = [
        Step("bad", 0.1, "json.tool", (), str(tmp_path / "missing")),
        Step("good", 0.1, "json.tool", (), str(there)),
    ]
    results = Results(tmp_path)
    [failure] = measure(steps, results)
    assert failure.startswith("bad left no result")
    assert "missing" in failure
    assert results.read("good", list[int]) == [1]
    assert list(results.circumstances().taken) == ["good"]


def test_a_step_that_hangs_is_ended(tmp_path: Path) -> None:
    hangs = Step("hangs", 0.01, "http.server", ("0", "--bind", "127.0.0.1"), "--directory")
    [failure] = measure([hangs], Results(tmp_path))
    assert failure.startswith("hangs was not done after")


TOOLS = {
    "vad": ("bench.vad", "--sessions", "20,300", "--seconds", "3", "--json"),
    "llm": ("bench.tokens", "--requests", "1", "--requests", "4", "--tokens", "4", "--json"),
    "tts": ("bench.speech", "--rounds", "1", "--json"),
    "idle": ("bench.idle", "--profile", "instant", "--seconds", "0.5", "--json"),
    "micro": (
        *("pytest", "bench/micro/test_gateway.py", "--benchmark-min-rounds=1"),
        *("--benchmark-max-time=0.01", "--benchmark-json"),
    ),
}
"""The tools whose results are no records of the load generator's, as they run the fastest."""


@pytest.mark.parametrize("part", TOOLS)
def test_what_a_tool_writes_can_be_read(part: str, tmp_path: Path) -> None:
    results = write(tmp_path)
    result = results.path(part)
    result.unlink()
    command = [sys.executable, "-m", *TOOLS[part], str(result)]
    settings = {"PARLEY_LLM_ENGINE": "instant", "PARLEY_TTS_ENGINE": "instant"}
    # pytest-benchmark measures nothing where it believes that other tests run beside it
    alone = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    ran = subprocess.run(
        command, cwd=ROOT, env={**alone, **settings}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert SECTIONS[part].render(results).count("|") > 10
    assert all(math.isfinite(goal.read(results)) for goal in GOALS if goal.part == part)
