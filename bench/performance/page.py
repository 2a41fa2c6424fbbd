"""docs/performance.md, put together. Pure."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bench.performance.goals import Judged
from bench.performance.markdown import figure, table
from bench.performance.results import Circumstances, Results
from bench.performance.sections import SECTIONS
from bench.performance.steps import STEPS

FOLDER = "performance"
"""Where the plots are, beside the page."""

_NOTES = Path(__file__).with_name("notes.toml")


class Notes(msgspec.Struct, forbid_unknown_fields=True):
    """What people wrote for the page: what bounds a goal's figure, what is to be known of a part,
    each by its name."""

    goals: dict[str, str] = {}
    parts: dict[str, str] = {}


def notes() -> Notes:
    """Those of notes.toml."""
    return msgspec.convert(tomllib.loads(_NOTES.read_text("utf-8")), Notes)


def page(results: Results, goals: Iterable[Judged], written: Notes, pictures: Iterable[str]) -> str:
    """The page; `pictures` are the names of its plots, which begin with their part's.

    Raises:
        Unreadable: what it shows was not measured.
    """
    shown = sorted(pictures)
    parts = []
    for part, section in SECTIONS.items():
        commands = "\n".join(step.command for step in STEPS if step.part == part)
        plots = (name for name in shown if name.partition("-")[0] == part)
        pieces = [
            f"## {section.title}",
            written.parts.get(part, "").strip(),
            section.render(results),
            *(f"![{section.title}: {name}]({FOLDER}/{name}.png)" for name in plots),
            f"```\n{commands}\n```",
        ]
        parts.append("\n\n".join(filter(None, pieces)))
    said = [_HEAD, circumstances(results.circumstances()), goal_table(goals, written), *parts]
    return "\n\n".join([*said, _PROFILES])


def goal_table(goals: Iterable[Judged], written: Notes) -> str:
    """What was asked for and what was measured; below, by number, what bounds the figures."""
    numbered = list(enumerate(goals, 1))
    rows = [(str(number), *_cells(each)) for number, each in numbered]
    noted = (
        f"- {number}: {written.goals[each.goal.name].strip()}"
        for number, each in numbered
        if each.goal.name in written.goals
    )
    asked = table(("", "goal", "asked", "measured", "met"), rows, words=2)
    return "\n\n".join(filter(None, ["## Goals", asked, "\n".join(noted)]))


def _cells(each: Judged) -> tuple[str, ...]:
    goal = each.goal
    measured = figure(each.measured, goal.unit)
    if goal.limit is None:
        return (goal.what, "to be stated", measured, "")
    asked = f"{'≥' if goal.at_least else '≤'} {figure(goal.limit, goal.unit)}"
    if each.met:
        return (goal.what, asked, measured, "yes")
    missed_by = figure(abs(each.measured - goal.limit), goal.unit)
    return (goal.what, asked, measured, f"no, by {missed_by}")


def circumstances(of: Circumstances) -> str:
    """On what, when, and at which state of the project it was measured."""
    here = of.machine
    versions = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    days = sorted({taken.day for taken in of.taken.values()})
    commits = sorted({taken.commit for taken in of.taken.values()})
    minutes = sum(taken.seconds for taken in of.taken.values()) / 60
    others = max((taken.others for taken in of.taken.values()), default=0)
    return "\n".join(
        [
            "## On what",
            "",
            f"- {here.cores} cores of an {here.cpu}, {here.memory_gib:.0f} GiB of memory, no GPU"
            f" used; {here.kernel}; Python {here.python}",
            f"- {versions}",
            f"- measured {' and '.join(days)} at {', '.join(commits)}, in {minutes:.0f} minutes;"
            f" before each measurement, other programs used {others:.0%} of the cores at most",
        ]
    )


_HEAD = """# Performance

Every figure on this page was measured, and the page written, by one command:

```
make performance
```

It takes half an hour and a machine that does nothing else. `python -m bench.performance --only
whole,llm` measures some parts again, `--render` only writes the page; what each tool wrote is kept
in `build/performance/`. Each section ends with the commands behind it; without a GPU, and with the
engines and models of the `cpu` profile, unless they say otherwise.

**Voice to voice** is what a client hears: from the last sample of speech that it sent to the first
sample of the answer that it received, the silence that ends a turn included. **Served** is the same
by the server's own marks: from when it received that sample to when it sent the answer's first. A
**gap** is a moment at which an answer's audio came later than it was to be played. p50 is the
median; p95 and p99 are what 95 and 99 of 100 turns stay below. Times are in ms. Everything runs on
the same cores, the callers too."""

_PROFILES = """## Where the time goes in a process

[The gateway's profile](performance/profile-gateway.md) and
[the VAD worker's](performance/profile-vad.md) at 100 sessions, and what was done about their top
entries; [how an utterance is decoded](performance/recognition.md) and
[how an answer begins](performance/llm.md), and what other ways would cost.
"""
