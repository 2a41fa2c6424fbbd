"""What was asked for, and how each figure is read from the results. Pure but for reading them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from bench.load.capacity import carried
from bench.load.machine import Costs
from bench.load.summary import Spread, Summary
from bench.overload import Result as Overload
from bench.performance import recognised
from bench.performance.results import Results, Unreadable
from bench.performance.steps import VOICE_TO_VOICE_MS
from bench.speech import Begun
from bench.tokens import Measured as Tokens
from bench.tokens import tokens_per_s
from bench.vad.steps import WINDOW_MS
from bench.vad.worker import Load
from cli.waterfall import STAGES

Read = Callable[[Results], float]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that was asked for. `limit` is its most, or its least where `at_least`; None where
    it is only to be stated. `name` is what its note in notes.toml is called."""

    name: str
    what: str
    read: Read
    limit: float | None = None
    unit: str = ""
    at_least: bool = False

    @property
    def part(self) -> str:
        return self.name.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Judged:
    """A goal and what was measured."""

    goal: Goal
    measured: float

    @property
    def met(self) -> bool | None:
        """None where there was nothing to meet."""
        limit = self.goal.limit
        if limit is None:
            return None
        return self.measured >= limit if self.goal.at_least else self.measured <= limit


def judged(results: Results) -> list[Judged]:
    """Every goal, held against the results.

    Raises:
        Unreadable: a figure cannot be read; says which.
    """
    return [Judged(goal, goal.read(results)) for goal in GOALS]


# --- how figures are read ---


def run_of(runs: Sequence[Summary], sessions: int) -> Summary:
    """The run with so many sessions. Raises Unreadable if there is none."""
    for run in runs:
        if run.scenario.sessions == sessions:
            return run
    raise Unreadable(f"there is no run of {sessions} sessions")


def beyond_silence_ms(run: Summary, percentile: str) -> float:
    """What clients waited for an answer beyond the silence that ends a question."""
    return _of(run.voice_to_voice, percentile) - run.scenario.silence_ms


def served_beyond_silence_ms(run: Summary, percentile: str) -> float:
    """What the server took beyond that silence, from speech received to the answer sent."""
    return _of(run.served, percentile) - run.scenario.silence_ms


def before_doubling(runs: Sequence[Summary]) -> int:
    """The most sessions up to which the p99 of what clients wait for beyond the silence is at most
    twice that of 100 sessions, with everybody let in and answered; 0 if that fails at once."""
    bound_ms = 2 * beyond_silence_ms(run_of(runs, 100), "p99")
    most = 0
    for run in runs:
        if run.unanswered or run.refused or run.broken:
            break
        if beyond_silence_ms(run, "p99") > bound_ms:
            break
        most = run.scenario.sessions
    return most


class Vad(msgspec.Struct):
    """What bench.vad writes: by engine and batch, what a step costs in ms, and what whole workers
    took, with the engine `engine`."""

    engine: str
    steps: dict[str, dict[int, float]]
    worker: list[Load]


def heard_by_a_core(steps_ms: Mapping[int, float]) -> dict[int, float]:
    """How many sessions' audio a core could follow in real time, by how many it steps together."""
    return {batch: batch * WINDOW_MS / step_ms for batch, step_ms in steps_ms.items()}


def commands_per_session_second(run: Summary) -> float:
    """Commands that the broker carried out, by how many sessions and seconds there were."""
    if run.costs is None or run.costs.commands_per_s is None:
        raise Unreadable("the broker's commands were not counted")
    return run.costs.commands_per_s / run.scenario.sessions


def most_sessions(runs: Sequence[Summary]) -> int:
    """The most sessions that were carried within the bound, of a search for capacity."""
    fine = (run.scenario.sessions for run in runs if carried(run, VOICE_TO_VOICE_MS))
    return max(fine, default=0)


def _of(found: Spread | None, percentile: str) -> float:
    """Where nothing was answered, whoever asked waits forever."""
    return math.inf if found is None else float(getattr(found, percentile))


def _of_100(name: str, read: Callable[[Summary, str], float], percentile: str) -> Read:
    return lambda results: read(run_of(results.runs(name), 100), percentile)


def _doubling(name: str) -> Read:
    return lambda results: before_doubling(results.runs(name))


def _commands(results: Results) -> float:
    runs = results.runs("plumbing-realtime")
    few, many = (commands_per_session_second(run_of(runs, n)) for n in (10, 300))
    return many / few


def _heard_by_a_core(results: Results) -> float:
    found = results.read("vad", Vad)
    return max(heard_by_a_core(found.steps[found.engine]).values())


def _heard_by_a_worker(results: Results) -> float:
    load = max(results.read("vad", Vad).worker, key=lambda load: load.sessions)
    return load.heard_s_per_s / load.cpu_s_per_s


def _faster(model: str) -> Read:
    """At a turn of 3 to 4 s."""
    return lambda results: recognised.faster(
        recognised.as_long(recognised.recognition(results).turns, model, 3, 4)
    )


def _worse_by(speakers: str) -> Read:
    """At all levels of noise together: a few words of one level alone are chance."""

    def read(results: Results) -> float:
        turns = recognised.recognition(results).turns
        levels = (
            recognised.level(turns, recognised.MODEL, speakers, name) for name in recognised.LEVELS
        )
        return recognised.worse_by([turn for level in levels for turn in level])

    return read


def _first_segment_ms(run: Summary) -> float:
    """From the transcript to the first segment, medians."""
    stages = {STAGES[mark] for mark in ("llm_start", "llm_first_token", "llm_first_segment")}
    return sum(row.duration_ms for row in run.waterfall if row.stage in stages)


def _first_answer(results: Results) -> float:
    sessions = results.read("llm", Tokens).read_ahead
    first_s = median(session.first.first_s for session in sessions)
    return first_s / median(session.second.first_s for session in sessions)


def _four_at_once(results: Results) -> float:
    answers = results.read("llm", Tokens).answers
    return tokens_per_s(answers[4]) / tokens_per_s(answers[1])


def _voice(name: str, percentile: str) -> Read:
    return lambda results: _of(results.runs(name)[0].voice_to_voice, percentile)


def _underruns(results: Results) -> float:
    return results.runs("whole-four")[0].underruns


def _stop(percentile: str) -> Read:
    return lambda results: _of(results.runs("whole-interrupted")[0].stop, percentile)


def _busiest(results: Results) -> float:
    return 100 * max(process.cores for process in results.read("idle", Costs).processes)


GOALS = (
    Goal(
        "plumbing-p50",
        "100 sessions in conversation, instant engines: from speech received to answer sent,"
        " beyond the silence that ends a turn, p50",
        _of_100("plumbing-realtime", served_beyond_silence_ms, "p50"),
        8,
        "ms",
    ),
    Goal(
        "plumbing-p99",
        "the same, p99",
        _of_100("plumbing-realtime", served_beyond_silence_ms, "p99"),
        30,
        "ms",
    ),
    Goal(
        "plumbing-heard",
        "the same as clients hear it, from speech sent to answer received, p50",
        _of_100("plumbing-realtime", beyond_silence_ms, "p50"),
        unit="ms",
    ),
    Goal(
        "plumbing-burst",
        "of 100 sessions whose turns all end in the same instant, from speech received to answer"
        " sent, beyond the silence, p50",
        _of_100("plumbing-together", served_beyond_silence_ms, "p50"),
        unit="ms",
    ),
    Goal(
        "plumbing-realtime",
        "sessions of one gateway before its p99 doubles, 20 ms appends in base64 JSON",
        _doubling("plumbing-realtime"),
        300,
        at_least=True,
    ),
    Goal(
        "plumbing-original",
        "the same on the binary protocol",
        _doubling("plumbing-original"),
        500,
        at_least=True,
    ),
    Goal(
        "plumbing-commands",
        "commands to the broker for each session and second at 300 sessions, of those at 10",
        _commands,
        1,
    ),
    Goal(
        "vad-model",
        "sessions that one core could follow, by the model's step alone",
        _heard_by_a_core,
        300,
        at_least=True,
    ),
    Goal(
        "vad-worker",
        "the same by a whole worker: audio heard for the processor's time that it took",
        _heard_by_a_worker,
        300,
        at_least=True,
    ),
    *(
        Goal(
            f"stt-time-{model.removeprefix('whisper-')}",
            f"{model}: faster-whisper's defaults take so many times as long for a turn of 3 to 4 s",
            _faster(model),
            3,
            at_least=True,
        )
        for model in ("whisper-base", "whisper-tiny.en")
    ),
    Goal(
        "stt-people",
        "whisper-base, people reading English: words wrong beyond those of the defaults, clean and"
        " at 20, 10 and 5 dB together",
        _worse_by("readers"),
        0,
        "of 100",
    ),
    Goal(
        "stt-languages",
        "whisper-base, nine languages: the same",
        _worse_by("samples"),
        0,
        "of 100",
    ),
    Goal(
        "llm-segment",
        "one session: from the transcript to the first speakable segment, median",
        lambda results: _first_segment_ms(results.runs("whole-one")[0]),
        250,
        "ms",
    ),
    Goal(
        "llm-first",
        "first token of a session's first answer, its instructions read ahead, of that of its"
        " second, medians",
        _first_answer,
        1.1,
    ),
    Goal(
        "llm-together",
        "tokens a second of four answers at once, of those of one alone",
        _four_at_once,
        1.8,
        at_least=True,
    ),
    Goal(
        "tts-first",
        "first chunk of a segment of at most eight words, median",
        lambda results: results.read("tts", Begun).alone.p50,
        120,
        "ms",
    ),
    Goal(
        "tts-fair",
        "the same while another session's long segment is spoken",
        lambda results: results.read("tts", Begun).beside.p50,
        unit="ms",
    ),
    Goal(
        "whole-p50",
        "one session, silence of 300 ms: voice to voice, p50",
        _voice("whole-one", "p50"),
        900,
        "ms",
    ),
    Goal("whole-p95", "the same, p95", _voice("whole-one", "p95"), 1300, "ms"),
    Goal(
        "whole-four-p50",
        "four sessions at the same instant: voice to voice, p50",
        _voice("whole-four", "p50"),
        1900,
        "ms",
    ),
    Goal("whole-four-p95", "the same, p95", _voice("whole-four", "p95"), 2500, "ms"),
    Goal("whole-four-underruns", "the same, gaps in answers", _underruns, 0),
    Goal(
        "whole-capacity",
        "most sessions in conversation, a turn every 10 s each, p95 within 2.5 s and no gap",
        lambda results: most_sessions(results.runs("whole-capacity")),
    ),
    Goal(
        "whole-stop",
        "from speaking over an answer to its last sample, p50",
        _stop("p50"),
        unit="ms",
    ),
    Goal(
        "overload",
        "past capacity: p95 of voice to voice of those who talk already, of what it was before",
        lambda results: results.read("overload", Overload).ratio,
        1.3,
    ),
    Goal("idle", "an idle system's busiest process, of one core", _busiest, 2, "%"),
)
