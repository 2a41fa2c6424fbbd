"""The sections of the page, one for each part: what its figures are, in Markdown. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from bench.load.machine import Costs
from bench.load.run import SESSIONS_EACH
from bench.load.summary import Summary
from bench.overload import Result as Overload
from bench.overload import page as overload_table
from bench.performance.goals import Vad, commands_per_session_second
from bench.performance.markdown import figure, ms, table
from bench.performance.recognised import MODEL, recognition
from bench.performance.results import Results
from bench.recognition import COLUMNS, Compared, by_batch, by_length, markdown
from bench.speech import Begun
from bench.speech import markdown as spoken_table
from bench.tokens import Measured as Tokens
from bench.tokens import begun_row, tokens_per_s
from cli.waterfall import Row

_MIB = 2**20
_LEAST_CORES = 0.005  # what uses less is not shown


class Stats(msgspec.Struct):
    """Of one microbenchmark, as pytest-benchmark writes them: seconds a round."""

    median: float
    min: float
    rounds: int


class Benchmark(msgspec.Struct):
    """One of pytest-benchmark's."""

    name: str
    stats: Stats
    group: str | None = None


class Benchmarks(msgspec.Struct):
    """All that pytest-benchmark wrote."""

    benchmarks: list[Benchmark]


def plumbing(results: Results) -> str:
    together, realtime, original = (
        results.runs(f"plumbing-{name}") for name in ("together", "realtime", "original")
    )
    return "\n\n".join(
        [
            "### All at the same instant",
            under_load(together),
            waterfall(together[-1]),
            "### Sessions of one gateway",
            "Realtime protocol:",
            under_load(realtime),
            "Binary protocol:",
            under_load(original),
            "### CPU of each process, in cores",
            cores(realtime),
        ]
    )


def vad(results: Results) -> str:
    found = results.read("vad", Vad)
    batches = list(found.steps[found.engine])
    steps = [
        (engine, *(f"{steps_ms[batch]:.2f}" for batch in batches))
        for engine, steps_ms in found.steps.items()
    ]
    workers = [
        (
            str(load.sessions),
            f"{load.cpu_s_per_s:.2f}",
            f"{load.broker_cpu_s_per_s:.2f}",
            f"{load.heard_s_per_s:.0f}",
            f"{load.batch:.1f}",
            f"{load.behind_p50_ms:.0f}",
            f"{load.behind_ms:.0f}",
            f"{load.rss_bytes / _MIB:.0f}",
        )
        for load in found.worker
    ]
    columns = (
        "sessions",
        "cores",
        "broker's",
        "heard, s/s",
        "batch",
        "behind p50",
        "behind p99",
        "MiB",
    )
    return "\n\n".join(
        [
            "### A step of the model, in ms, by how many sessions it hears together",
            table(("engine", *map(str, batches)), steps),
            f"### A whole worker, engine {found.engine}",
            table(columns, workers),
            "**Heard** is the audio that it heard in a second; **behind** is how long after the"
            " last frame of its silence a turn was ended, in ms.",
        ]
    )


def stt(results: Results) -> str:
    found = recognition(results)
    conditions: dict[tuple[str, ...], list[Compared]] = defaultdict(list)
    languages: dict[tuple[str, ...], list[Compared]] = defaultdict(list)
    for turn in found.turns:
        conditions[turn.model, turn.speakers, turn.condition].append(turn)
        if (turn.model, turn.condition) == (MODEL, "clean"):
            languages[turn.model, turn.speakers, turn.language].append(turn)
    return "\n\n".join(
        [
            "### Words wrong, clean and with noise",
            markdown(f"model | speakers | condition | {COLUMNS}", conditions),
            f"Each language, {MODEL}, clean:",
            markdown(f"model | speakers | language | {COLUMNS}", languages),
            "### How long a turn takes, by its length",
            by_length(found.turns),
            "### What a turn costs, by how many are recognised together",
            by_batch(found.batches),
        ]
    )


def llm(results: Results) -> str:
    found = results.read("llm", Tokens)
    rows = [
        (
            str(count),
            f"{tokens_per_s(answers):.1f}",
            f"{tokens_per_s(answers) / count:.1f}",
            f"{1000 * statistics.median(answer.first_s for answer in answers):.0f}",
        )
        for count, answers in found.answers.items()
    ]
    begun = [(name, *begun_row(answers)) for name, answers in found.beginnings.items()]
    return "\n\n".join(
        [
            f"### Answers at once ({found.engine})",
            table(("answers", "tokens/s", "each", "first token, ms"), rows),
            "### Until an answer begins, medians",
            table(("", "answers", "first token, ms", "first segment, ms", "its tokens"), begun),
        ]
    )


def tts(results: Results) -> str:
    return spoken_table(results.read("tts", Begun))


def whole(results: Results) -> str:
    one, four, talked_over = (
        results.runs(f"whole-{name}") for name in ("one", "four", "interrupted")
    )
    capacity = results.runs("whole-capacity")
    [interrupted] = talked_over
    stop = interrupted.stop
    return "\n\n".join(
        [
            "### One session, and four at the same instant",
            under_load([*one, *four]),
            waterfall(one[0]),
            "### More and more sessions, each asking every 10 s",
            under_load(capacity),
            cores(capacity),
            "### Talking over the answer",
            f"The old answer's last sample came {ms(stop, 'p50')} ms (p50) and {ms(stop, 'p95')} ms"
            f" (p95) after the first sample of speech over it,"
            f" {0 if stop is None else stop.count} times.",
        ]
    )


def overload(results: Results) -> str:
    return overload_table(results.read("overload", Overload))


def idle(results: Results) -> str:
    costs = results.read("idle", Costs)
    rows = [
        (each.name, f"{100 * each.cores:.2f}", f"{each.rss_bytes / _MIB:.0f}")
        for each in costs.processes
    ]
    everything = f"{100 * sum(each.cores for each in costs.processes):.2f}"
    return table(("process", "% of one core", "MiB"), [*rows, ("all", everything, "")])


def micro(results: Results) -> str:
    groups: dict[str, list[Benchmark]] = defaultdict(list)
    for each in results.read("micro", Benchmarks).benchmarks:
        groups[each.group or "others"].append(each)
    pieces = []
    for group, members in groups.items():
        rows = [
            (each.name.removeprefix("test_"), _time(each.stats.median), _time(each.stats.min))
            for each in members
        ]
        pieces.append(table((group, "median", "least"), rows))
    return "\n\n".join(pieces)


def _time(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return figure(seconds * factor, unit)
    return figure(seconds * 1e6, "µs")


@dataclass(frozen=True, slots=True)
class Section:
    """A part's title, and what shows its results."""

    title: str
    render: Callable[[Results], str]


SECTIONS = {
    "plumbing": Section("The plumbing alone", plumbing),
    "vad": Section("Voice activity detection", vad),
    "stt": Section("Recognition", stt),
    "llm": Section("Language model", llm),
    "tts": Section("Synthesis", tts),
    "whole": Section("The whole", whole),
    "overload": Section("More than it can carry", overload),
    "idle": Section("Idle", idle),
    "micro": Section("Hot paths, one by one", micro),
}


# --- tables that several need ---


def under_load(runs: Sequence[Summary]) -> str:
    """A row for each run of the load generator; times in ms."""
    columns = {
        "sessions": lambda run: str(run.scenario.sessions),
        "turns": lambda run: str(run.answered),
        "not answered": lambda run: str(run.unanswered + run.broken + run.refused),
        "p50": lambda run: ms(run.voice_to_voice, "p50"),
        "p95": lambda run: ms(run.voice_to_voice, "p95"),
        "p99": lambda run: ms(run.voice_to_voice, "p99"),
        "served p50": lambda run: ms(run.served, "p50"),
        "served p99": lambda run: ms(run.served, "p99"),
        "gaps": lambda run: str(run.underruns),
        "commands/s": _commands,
        "for each session": lambda run: figure(commands_per_session_second(run)),
        "callers' cores": _callers_cores,
        "callers late p99": lambda run: "" if run.callers is None else figure(run.callers.late.p99),
    }
    return table(list(columns), ([cell(run) for cell in columns.values()] for run in runs))


def cores(runs: Sequence[Summary]) -> str:
    """CPU of each process, a column for each run."""
    there = [run for run in runs if run.costs is not None]
    shares: dict[str, dict[int, float]] = {}
    for number, run in enumerate(there):
        for process in run.costs.processes if run.costs else []:
            of_run = shares.setdefault(process.name, {})
            of_run[number] = of_run.get(number, 0.0) + process.cores
    columns = ("sessions", *(str(run.scenario.sessions) for run in there))
    return table(
        columns,
        (
            (name, *(f"{of_run.get(number, 0):.2f}" for number in range(len(there))))
            for name, of_run in shares.items()
            if max(of_run.values()) >= _LEAST_CORES
        ),
    )


def waterfall(run: Summary) -> str:
    """Where the time of a run's turns went, medians."""
    rows: list[Row] = run.waterfall
    return table(
        ("stage", "median, ms"),
        ((row.stage, f"{row.duration_ms:.0f}") for row in rows),
    )


def _callers_cores(run: Summary) -> str:
    """Of all processes of callers, usually."""
    if run.callers is None:
        return ""
    return f"{-(-run.scenario.sessions // SESSIONS_EACH) * run.callers.cores.p50:.2f}"


def _commands(run: Summary) -> str:
    costs = run.costs
    return "" if costs is None or costs.commands_per_s is None else f"{costs.commands_per_s:.0f}"
