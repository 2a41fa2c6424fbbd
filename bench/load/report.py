"""A run's results for people: a table in a terminal, and a page."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from bench.load.summary import Spread, Summary

_COLUMNS = {
    "n": "sessions",
    "ok": "turns answered",
    "bad": "turns not answered, sessions broken off",
    "no": "sessions refused",
    "p50": "voice to voice",
    "p95": "voice to voice",
    "p99": "voice to voice",
    "heard": "transcript, median",
    "text": "first words of the answer, median",
    "stop": "from an interruption to the end of the old answer, median",
    "gaps": "underruns, and how long they were together",
    "cores": "CPU of all the server's processes",
    "cmd/s": "commands to the broker",
    "late": "how late the callers themselves were, p99",
}


def table(runs: Iterable[Summary]) -> Table:
    """A row for each run; times in ms from the end of speech, p50 to p99 of voice to voice."""
    shown = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        shown.add_column(column, justify="right")
    for run in runs:
        shown.add_row(*_cells(run))
    return shown


def page(title: str, runs: Sequence[Summary], pictures: Mapping[str, bytes]) -> str:
    """An HTML page that needs nothing else: the table, the pictures (PNG, by name), what went
    wrong."""
    head = "".join(
        f'<th title="{html.escape(meaning)}">{column}</th>' for column, meaning in _COLUMNS.items()
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(run)) + "</tr>"
        for run in runs
    )
    encoded = {name: base64.b64encode(png).decode() for name, png in pictures.items()}
    plots = "".join(
        f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">'
        for name, data in encoded.items()
    )
    problems = "".join(
        f"<li>{run.scenario.sessions} sessions: {html.escape(said)}</li>"
        for run in runs
        for said in remarks(run)
    )
    return _PAGE.format(title=html.escape(title), head=head, rows=rows, plots=plots, said=problems)


def remarks(run: Summary) -> list[str]:
    """What to know of the figures: what went wrong, and whether they are the server's alone."""
    said = [f"{number}x {problem}" for problem, number in run.problems.items()]
    if run.callers is not None and run.callers.lagged:
        said.append(
            f"the callers were late themselves, p99 {run.callers.late.p99:.0f} ms: this much of the"
            " times may be theirs"
        )
    return said


def _cells(run: Summary) -> list[str]:
    costs = run.costs
    return [
        str(run.scenario.sessions),
        str(run.answered),
        str(run.unanswered + run.broken),
        str(run.refused),
        _ms(run.voice_to_voice, "p50"),
        _ms(run.voice_to_voice, "p95"),
        _ms(run.voice_to_voice, "p99"),
        _ms(run.transcript, "p50"),
        _ms(run.text, "p50"),
        _ms(run.stop, "p50"),
        f"{run.underruns} ({run.underrun_ms:.0f} ms)" if run.underruns else "0",
        f"{sum(process.cores for process in costs.processes):.2f}" if costs else "",
        "" if costs is None or costs.commands_per_s is None else f"{costs.commands_per_s:.0f}",
        "" if run.callers is None else f"{run.callers.late.p99:.1f}",
    ]


def _ms(found: Spread | None, name: str) -> str:
    return "" if found is None else f"{getattr(found, name):.0f}"


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #ddd }}
th {{ font-weight: 600; vertical-align: bottom }}
img {{ max-width: 100%; margin-top: 1.5rem }}
</style>
<h1>{title}</h1>
<p>Times in ms, from the last sample of speech sent to the first of the answer received.</p>
<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>
{plots}
<ul>{said}</ul>
</html>
"""
