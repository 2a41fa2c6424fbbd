"""A run's results as pictures."""

import io
from collections import defaultdict
from collections.abc import Sequence

from matplotlib.figure import Figure

from bench.load.summary import Summary
from cli.waterfall import STAGES

_BLUE, _ORANGE, _RED = "#3b6ea5", "#e08e45", "#b5483a"
_INCHES = (8.0, 4.2)
_DPI = 120


def pictures(runs: Sequence[Summary]) -> dict[str, bytes]:
    """The plots that these runs have something to show in, PNG, by name."""
    made = {"latency": _latency(runs), "waterfall": _waterfall(runs), "cores": _cores(runs)}
    return {name: _png(figure) for name, figure in made.items() if figure is not None}


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    return data.getvalue()


def _latency(runs: Sequence[Summary]) -> Figure | None:
    there = [(run.scenario.sessions, run.voice_to_voice) for run in runs if run.voice_to_voice]
    if not there:
        return None
    figure = Figure(_INCHES, layout="constrained")
    axes = figure.subplots()
    sessions = [number for number, _ in there]
    for name, colour in (("p50", _BLUE), ("p95", _ORANGE), ("p99", _RED)):
        values = [getattr(found, name) for _, found in there]
        axes.plot(sessions, values, marker="o", color=colour, label=name)
    axes.set(xlabel="sessions", ylabel="voice to voice, ms", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _waterfall(runs: Sequence[Summary]) -> Figure | None:
    there = [run for run in runs if run.waterfall]
    if not there:
        return None
    figure = Figure(_INCHES, layout="constrained")
    axes = figure.subplots()
    names = [str(run.scenario.sessions) for run in there]
    left = [0.0] * len(there)
    for stage in STAGES.values():
        widths = [
            sum(row.duration_ms for row in run.waterfall if row.stage == stage) for run in there
        ]
        axes.barh(names, widths, left=left, label=stage)
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    axes.set(xlabel="ms from the end of speech, medians", ylabel="sessions")
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _cores(runs: Sequence[Summary]) -> Figure | None:
    there = [run for run in runs if run.costs]
    if not there:
        return None
    figure = Figure(_INCHES, layout="constrained")
    axes = figure.subplots()
    shares: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(there))
    for index, run in enumerate(there):
        for process in run.costs.processes if run.costs else []:
            shares[process.name][index] += process.cores
    sessions = [run.scenario.sessions for run in there]
    for name, values in shares.items():
        axes.plot(sessions, values, marker="o", label=name)
    axes.set(xlabel="sessions", ylabel="cores", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return figure
