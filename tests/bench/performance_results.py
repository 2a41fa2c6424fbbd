"""Small results of every step of bench.performance, written as the tools write theirs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from bench.load.machine import Cost, Costs
from bench.load.record import Turn
from bench.load.scenario import Protocol, Scenario
from bench.load.summary import Summary, summarise
from bench.overload import Outcome
from bench.overload import Result as Overload
from bench.performance.machine import machine
from bench.performance.results import Results, Taken
from bench.performance.steps import STEPS
from bench.recognition import Compared, Heard
from bench.speech import Begun
from bench.tokens import Measured as Tokens
from bench.tokens import Session, Told
from bench.vad.worker import Load


def run(sessions: int, voice_ms: float = 500, protocol: Protocol = "realtime") -> Summary:
    """A run whose turns take a little longer one after another."""
    scenario = Scenario(sessions=sessions, silence_ms=320, protocol=protocol)
    marks = {
        "speech_end": 1000,
        "turn_end": 1320,
        "stt_end": 1400,
        "llm_first_token": 1420,
        "audio_out": 1440,
    }
    turns = [
        Turn(session=0, number=n, audio_ms=voice_ms + n, stop_ms=50, marks=marks)
        for n in range(1, 11)
    ]
    busy = Cost(name="gateway", cores=0.5, rss_bytes=2**27)
    broker = Cost(name="redis-server", cores=0.1, rss_bytes=2**24)
    costs = Costs(seconds=10, processes=[busy, broker], commands_per_s=400 + 10 * sessions)
    return summarise(scenario, turns, costs)


def compared(model: str, speakers: str, condition: str) -> Compared:
    """A turn of 3.5 s that both understood."""
    text = "one two three"
    heard, slower = Heard(text, 0.2, 0.2), Heard(text, 0.8, 0.7)
    return Compared(model, speakers, "en", condition, "counting", text, 3.5, False, heard, slower)


def _runs(name: str) -> list[Summary]:
    if name == "plumbing-original":
        return [run(number, protocol="original") for number in (100, 300, 500)]
    if name.startswith("plumbing"):
        return [run(number) for number in (10, 100, 300)]
    return [run(4 if name == "whole-four" else 1)]


def _overload() -> Overload:
    spread = run(1).voice_to_voice
    assert spread is not None
    outcome = Outcome(
        before=spread, during=spread, ratio=1.0, unanswered=0, refused=9, let_in=1, lost=0
    )
    return Overload(
        bottleneck="llm",
        capacity=33,
        talking=23,
        without=outcome,
        **msgspec.structs.asdict(outcome),
    )


def _recognition() -> dict[str, Any]:
    conditions = ("clean", "pink 20 dB", "white 10 dB", "babble 5 dB")
    turns = [
        asdict(compared(model, speakers, condition))
        for model in ("whisper-base", "whisper-tiny.en")
        for speakers in ("readers", "samples")
        for condition in conditions
    ]
    return {"turns": turns, "batches": {"whisper-base": {"1": 0.3, "8": 0.2}}}


def _vad() -> dict[str, Any]:
    loads = [Load(number, 0.1, 0.05, 9, 4.0, 20.0, 2**27, {}, number, 8.0) for number in (10, 300)]
    worker = [asdict(load) for load in loads]
    return {"engine": "silero", "steps": {"silero": {"1": 0.2, "128": 10.0}}, "worker": worker}


def _llm() -> Tokens:
    one, four = Told(0.1, 0.3, 1.0, 60, 12), Told(0.2, 0.6, 2.0, 60, 12)
    sessions = [Session(one, one)]
    return Tokens(
        engine="llama",
        answers={1: [one], 4: [four] * 4},
        asked=[one],
        read_ahead=sessions,
        unread=sessions,
    )


def _tts() -> Begun:
    soon, late = run(1, 100).voice_to_voice, run(1, 900).voice_to_voice
    assert soon is not None
    assert late is not None
    return Begun(
        engine="piper",
        words=7,
        alone=soon,
        beside=soon,
        beside_three=soon,
        long_first=soon,
        long_whole=late,
        cpu_s={1: 0.1, 8: 0.1},
    )


def _micro() -> dict[str, Any]:
    stats = {"median": 2.5e-5, "min": 2e-5, "rounds": 5}
    return {"benchmarks": [{"name": "test_batch[1]", "group": "recognition", "stats": stats}]}


def write(folder: Path) -> Results:
    """Writes a result for each step."""
    results = Results(folder)
    others = {
        "vad": _vad,
        "llm": _llm,
        "tts": _tts,
        "stt": _recognition,
        "overload": _overload,
        "idle": lambda: run(1).costs,
        "micro": _micro,
    }
    here = machine()
    for step in STEPS:
        found = others[step.name]() if step.name in others else _runs(step.name)
        results.path(step.name).write_bytes(msgspec.json.encode(found))
        results.note(here, step.name, Taken("2026-01-02", "abcdef", 60, 0.01))
    return results
