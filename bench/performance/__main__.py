"""Measures what docs/performance.md says and writes it.

python -m bench.performance
python -m bench.performance --only stt,whole
python -m bench.performance --render
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.performance.goals import judged
from bench.performance.measuring import ROOT, measure
from bench.performance.page import FOLDER, notes, page
from bench.performance.plots import plots
from bench.performance.results import Results, Unreadable
from bench.performance.steps import PARTS, STEPS

_RESULTS = ROOT / "build" / "performance"
_PAGE = ROOT / "docs" / "performance.md"


def main(
    only: Annotated[
        str | None, typer.Option(help=f"Parts to measure, with commas: {', '.join(PARTS)}.")
    ] = None,
    render: Annotated[
        bool, typer.Option("--render", help="Write the page from what was measured before.")
    ] = False,
) -> None:
    """Runs every measurement, half an hour in all, and writes the page."""
    results = Results(_RESULTS)
    if not render:
        wanted = PARTS if only is None else tuple(only.split(","))
        if unknown := set(wanted) - set(PARTS):
            sys.exit(f"--only must name parts of {', '.join(PARTS)}, not {', '.join(unknown)}")
        _RESULTS.mkdir(parents=True, exist_ok=True)
        failures = measure([step for step in STEPS if step.part in wanted], results)
        if failures:
            sys.exit("\n".join(failures))
    try:
        write(results, _PAGE)
    except Unreadable as error:
        sys.exit(str(error))


def write(results: Results, path: Path) -> None:
    """Writes the page and, in a folder beside it, its plots. Raises Unreadable."""
    drawn, goals, written = plots(results), judged(results), notes()
    text = page(results, goals, written, drawn)
    folder = path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    for name, png in drawn.items():
        (folder / f"{name}.png").write_bytes(png)
    path.write_text(text, "utf-8")
    missed = [each.goal.name for each in goals if each.met is False]
    print(f"{path}: {len(goals)} goals, missed: {', '.join(missed) or 'none'}")
    unsaid = [name for name in missed if name not in written.goals]
    if unsaid:
        print(f"notes.toml does not say what bounds {', '.join(unsaid)}")


if __name__ == "__main__":
    typer.run(main)
