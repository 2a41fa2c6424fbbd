"""The page's plots, as PNG by name. Pure."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from PIL import Image

from bench.load.plots import pictures
from bench.load.summary import Summary
from bench.performance.goals import Vad, beyond_silence_ms, heard_by_a_core
from bench.performance.recognised import LEVELS, MODEL, level, recognition
from bench.performance.results import Results
from bench.recognition import Compared, word_error_rate

_BLUE, _ORANGE = "#3b6ea5", "#e08e45"
_INCHES = (8.0, 4.2)
_DPI = 100
_COLOURS = 48


def plots(results: Results) -> dict[str, bytes]:
    """All of them. Raises Unreadable if what one shows was not measured."""
    realtime, original = (results.runs(f"plumbing-{name}") for name in ("realtime", "original"))
    made = {"plumbing-latency": _png(_plumbing({"Realtime": realtime, "binary": original}))}
    made["vad-core"] = _png(_followed(results.read("vad", Vad)))
    made["stt-words"] = _png(_words(recognition(results).turns))
    made["plumbing-cores"] = pictures(realtime)["cores"]
    loaded = pictures(results.runs("whole-capacity"))
    made |= {f"whole-{name}": png for name, png in loaded.items()}
    return {name: _compressed(data) for name, data in made.items()}


def _plumbing(protocols: Mapping[str, Sequence[Summary]]) -> Figure:
    figure = Figure(_INCHES, layout="constrained")
    axes = figure.subplots()
    for (name, runs), colour in zip(protocols.items(), (_BLUE, _ORANGE), strict=True):
        sessions = [run.scenario.sessions for run in runs if run.voice_to_voice]
        for percentile, line in (("p50", "-"), ("p99", "--")):
            values = [beyond_silence_ms(run, percentile) for run in runs if run.voice_to_voice]
            axes.plot(
                sessions, values, line, marker="o", color=colour, label=f"{name}, {percentile}"
            )
    axes.set(xlabel="sessions", ylabel="voice to voice beyond the silence, ms", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _followed(found: Vad) -> Figure:
    figure = Figure(_INCHES, layout="constrained")
    axes = figure.subplots()
    for engine, steps_ms in found.steps.items():
        followed = heard_by_a_core(steps_ms)
        axes.plot(list(followed), list(followed.values()), marker="o", label=engine)
    axes.set(
        xlabel="sessions stepped together",
        ylabel="sessions that a core could follow",
        xscale="log",
        ylim=(0, None),
    )
    axes.set_xticks(list(found.steps[found.engine]), map(str, found.steps[found.engine]))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _words(turns: Sequence[Compared]) -> Figure:
    figure = Figure(_INCHES, layout="constrained")
    drawn = figure.subplots(1, 2, sharey=True)
    speakers = {"readers": "people reading English", "samples": "nine languages"}
    for axes, (who, title) in zip(drawn, speakers.items(), strict=True):
        for side, colour in (("parley", _BLUE), ("defaults", _ORANGE)):
            wrong = [
                100 * word_error_rate(level(turns, MODEL, who, name), side)[1] for name in LEVELS
            ]
            axes.plot(LEVELS, wrong, marker="o", color=colour, label=side)
        axes.set(title=f"{MODEL}, {title}", xlabel="noise", ylim=(0, None))
        axes.grid(alpha=0.3)
    drawn[0].set(ylabel="words wrong of 100")
    drawn[0].legend(frameon=False)
    return figure


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    return data.getvalue()


def _compressed(png: bytes) -> bytes:
    """The same picture in as few colours as a plot needs."""
    small = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()
