"""What a run came to, as tables for people and as JSON for programs."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from bench.chaos.campaign import Outcome, Plan
from bench.chaos.faults import Kind
from bench.chaos.recovery import Struck, Timeline, quantile, recoveries, strikes

Blamed = dict[Kind, Counter[str]]


def blamed(outcome: Outcome) -> Blamed:
    """For each kind of fault, how many of each kind of violation were in turns that it struck.

    A violation is counted under every fault that struck its turn: where there are any at all,
    this says where to look, and not whose they are.
    """
    found: Blamed = {}
    by_turn = {(each.session, each.turn): each for each in outcome.timelines}
    for violation in outcome.violations:
        timeline = by_turn.get((violation.session, violation.turn))  # type: ignore[arg-type]
        if timeline is not None:
            for kind in _kinds(outcome.struck, timeline):
                found.setdefault(kind, Counter())[violation.kind] += 1
    return found


def _kinds(struck: Sequence[Struck], timeline: Timeline) -> set[Kind]:
    return {fault.kind for fault in struck if strikes(fault, timeline)}


def faults_table(outcome: Outcome) -> Table:
    """One row for each kind of fault; times in seconds."""
    table = Table(box=None, title="Faults, and how long the turns they struck waited (s)")
    for column, justify in [
        ("fault", "left"),
        *((name, "right") for name in ("injected", "turns struck", "lost", "duplicated")),
        *((name, "right") for name in ("alone", "median", "p95", "worst", "worst of all")),
    ]:
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    counts = blamed(outcome)
    for each in recoveries(outcome.struck, outcome.timelines):
        wrong = counts.get(each.kind, Counter())
        times = [quantile(each.alone_s, share) for share in (0.5, 0.95, 1.0)]
        table.add_row(
            str(each.kind),
            str(each.faults),
            str(each.turns),
            str(wrong["lost"]),
            str(wrong["duplicated"]),
            str(len(each.alone_s)),
            *("" if time is None else f"{time:.2f}" for time in times),
            f"{each.worst_s:.2f}",
        )
    return table


def memory_table(outcome: Outcome) -> Table:
    """One row for each process that was watched long enough for a trend."""
    table = Table(box=None, title="Memory and open files")
    for column in ("process", "hours", "first MB", "last MB", "MB/hour", "first files", "last"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for trend in outcome.trends:
        table.add_row(
            trend.name,
            f"{trend.hours:.2f}",
            f"{trend.first_mb:.1f}",
            f"{trend.last_mb:.1f}",
            f"{trend.mb_per_hour:+.2f}",
            str(trend.first_things),
            str(trend.last_things),
        )
    return table


def totals(outcome: Outcome) -> str:
    """The whole run in a few lines."""
    counts = Counter(violation.kind for violation in outcome.violations)
    return (
        f"{len(outcome.struck)} faults over {outcome.turns} turns of {outcome.sessions} sessions"
        f" in {outcome.seconds / 60:.1f} minutes; clients resumed {outcome.resumed} times\n"
        f"{counts['lost']} lost, {counts['duplicated']} duplicated, {counts['wrong']} wrong"
        f" otherwise; {outcome.left_s:.0f} s after the last session nothing of them was left"
    )


def as_json(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """All of it, for a program to read."""
    return {
        "plan": {**dataclasses.asdict(plan), "kinds": [str(kind) for kind in plan.kinds]},
        "turns": outcome.turns,
        "sessions": outcome.sessions,
        "resumed": outcome.resumed,
        "seconds": outcome.seconds,
        "left_s": outcome.left_s,
        "violations": [dataclasses.asdict(each) for each in outcome.violations],
        "recoveries": [
            {**dataclasses.asdict(each), "kind": str(each.kind)}
            for each in recoveries(outcome.struck, outcome.timelines)
        ],
        "timelines": [dataclasses.asdict(each) for each in outcome.timelines],
        "struck": [{**dataclasses.asdict(each), "kind": str(each.kind)} for each in outcome.struck],
        "trends": [dataclasses.asdict(each) for each in outcome.trends],
    }
