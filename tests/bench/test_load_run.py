"""Runs of the load generator: what they come to, and against a real server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.load.capacity import largest
from bench.load.question import original, realtime, voiced_samples
from bench.load.record import Ended, Pulse, Record, Turn
from bench.load.report import page, remarks, table
from bench.load.scenario import Scenario
from bench.load.summary import Summary, spread, summarise
from shared.audio import write_wav
from tests.support.up import running

ROOT = Path(__file__).parent.parent.parent
TONE = np.round(8_000 * np.sin(np.arange(12_000) / 5)).astype(np.int16)
"""Half a second at 24 kHz, which is speech to the instant engines."""


def turn(number: int, audio_ms: float | None, problem: str = "") -> Turn:
    return Turn(session=0, number=number, audio_ms=audio_ms, problem=problem)


def test_a_question_ends_where_speech_does(tmp_path: Path) -> None:
    path = tmp_path / "q.wav"
    quiet = np.zeros(12_000, np.int16)
    recorded = np.concatenate([quiet, TONE, quiet])
    write_wav(path, recorded, 24_000)
    assert voiced_samples(recorded, 24_000) == range(12_000, 24_000)
    asked = realtime(path)
    assert (asked.first, asked.last, len(asked.speech)) == (25, 49, 50)
    assert (original(path).frame_s, len(original(path).silence)) == (0.064, 2048)


def test_percentiles_leave_out_what_warms_up_and_what_failed() -> None:
    records: list[Record] = [turn(0, 9_000), *(turn(n, 100.0 * n) for n in range(1, 6))]
    records += [turn(6, None, "no"), Ended(session=0), Ended(session=1, refused=True, problem="x")]
    found = summarise(Scenario(sessions=2, turns=7), records)
    assert (found.answered, found.unanswered, found.refused, found.broken) == (5, 1, 1, 0)
    assert found.voice_to_voice == spread([100, 200, 300, 400, 500])
    assert found.voice_to_voice is not None
    assert found.voice_to_voice.p50 == 300
    assert found.problems == {"no": 1, "x": 1}
    assert not found.flawless


def test_a_run_whose_callers_were_late_says_so() -> None:
    def run_of(*late_ms: float) -> Summary:
        pulses = [Pulse(seconds=2.0, cpu_s=1.0, late_ms=[each]) for each in late_ms]
        return summarise(Scenario(sessions=1), [turn(1, 100.0), *pulses])

    prompt, late = run_of(0.1, 0.3), run_of(0.1, 80.0)
    assert prompt.callers is not None
    assert (prompt.callers.cores.most, prompt.callers.late.p50) == (0.5, 0.2)
    assert not remarks(prompt)
    assert "the callers were late themselves" in remarks(late)[0]
    assert "the callers were late themselves" in page("Load", [late], {})


async def test_capacity_is_searched() -> None:
    tried: list[int] = []

    async def attempt(sessions: int) -> Summary:
        tried.append(sessions)
        slow_ms = 500.0 if sessions <= 37 else 5_000.0
        return summarise(Scenario(sessions=sessions), [turn(1, slow_ms), Ended(session=0)])

    most, runs = await largest(attempt, 1_000, most=2_000)
    assert 36 <= most <= 37
    assert [run.scenario.sessions for run in runs] == tried
    assert tried[:7] == [1, 2, 4, 8, 16, 32, 64]


async def test_capacity_may_be_none_or_all_there_is() -> None:
    async def never(sessions: int) -> Summary:
        return summarise(Scenario(sessions=sessions), [])

    async def always(sessions: int) -> Summary:
        return summarise(Scenario(sessions=sessions), [turn(1, 1.0)])

    assert (await largest(never, 1_000, most=8))[0] == 0
    assert (await largest(always, 1_000, most=8))[0] == 8


def test_the_report_escapes_what_a_server_said() -> None:
    bad = summarise(Scenario(sessions=1), [turn(1, None, "<script>")])
    shown = page("Load", [bad], {"latency": b"png"})
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "data:image/png;base64,cG5n" in shown
    assert table([bad]).row_count == 1


def bench(question: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.load", str(question), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("question") / "question.wav"
    write_wav(path, TONE, 24_000)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("load") / "data") as up:
        yield up


def test_it_measures_a_server(server: Any, question: Path, tmp_path: Path) -> None:
    result, report = tmp_path / "result.json", tmp_path / "report.html"
    ran = bench(
        question,
        *("--url", server.url, "--pid", str(server.process.pid), "--sessions", "1,3"),
        *("--turns", "3", "--interrupt", "2", "--pause-s", "0.1"),
        *("--output", str(result), "--report", str(report), "--pictures", str(tmp_path)),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    one, three = json.loads(result.read_text())
    assert (one["answered"], three["answered"]) == (2, 6)
    assert (three["unanswered"], three["refused"], three["broken"]) == (0, 0, 0)
    # Nothing is answered before the silence that ends a turn, and instant engines soon after.
    assert 250 < three["voice_to_voice"]["p50"] < 5_000
    assert three["stop"]["count"] == 3
    assert three["waterfall"][-1]["duration_ms"] > 0
    assert three["served"]["count"] == 6
    assert {cost["name"] for cost in three["costs"]["processes"]} >= {"gateway", "workers.vad"}
    assert three["callers"]["cores"]["most"] > 0
    assert three["callers"]["late"]["count"] >= 50
    assert "<table>" in report.read_text()
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "latency.png",
        "waterfall.png",
        "cores.png",
    }


def test_it_speaks_the_original_protocol(server: Any, question: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    ran = bench(
        question,
        *("--url", server.url, "--protocol", "original", "--turns", "2", "--pause-s", "0.1"),
        *("--output", str(result)),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [found] = json.loads(result.read_text())
    assert (found["answered"], found["transcript"]) == (1, None)


def test_a_server_that_is_not_there_is_said(question: Path) -> None:
    ran = bench(question, "--url", "ws://127.0.0.1:9", "--turns", "1", "--warm-up", "0")
    assert ran.returncode == 1
    assert "ConnectionRefusedError" in ran.stdout


def test_a_recording_that_is_none_is_said() -> None:
    ran = bench(ROOT / "README.md")
    assert ran.returncode == 1
    assert "must be a PCM WAV file" in ran.stderr
    assert "Traceback" not in ran.stderr
