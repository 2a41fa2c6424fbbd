"""What a run came to, for people."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from bench.chaos.recovery import quantile
from bench.fuzz.campaign import Outcome


def footprint_table(outcome: Outcome) -> Table:
    """Memory and open files of each process: a column for each time."""
    times = outcome.footprints
    table = Table(box=None, title="Resident memory in MB, and open files, when all is quiet")
    table.add_column("process")
    for name, _ in times:
        table.add_column(name, justify="right")
    for process in times[0][1]:
        cells = [f"{at[process].memory / 1e6:.0f}, {at[process].files}" for _, at in times]
        table.add_row(process, *cells)
    return table


def totals(outcome: Outcome) -> Iterator[str]:
    """Lines of figures."""
    tally = outcome.tally
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in sorted(tally.thrown.items()))
    yield (
        f"{tally.malformed:,} malformed frames of {tally.thrown.total():,} ({kinds}) over"
        f" {tally.connections:,} connections in {outcome.seconds:.0f} s"
    )
    answers = ", ".join(f"{code} {number:,}" for code, number in tally.refused.most_common())
    yield f"answers: {answers}"
    if outcome.alone_s and outcome.beside_s:
        yield f"{outcome.turns} turns of neighbours, to the first of the answer that is heard:"
        yield _waits("alone", outcome.alone_s)
        yield _waits("beside", outcome.beside_s)
        yield f"  ratio   {_ratio(outcome, 0.5):.2f} median, {_ratio(outcome, 0.95):.2f} p95"
    yield f"{tally.problems.total()} problems"
    for what, number in tally.problems.most_common():
        yield f"  {number:,}: {what}"


def _waits(name: str, waits_s: Sequence[float]) -> str:
    median, p95 = (quantile(waits_s, share) or 0.0 for share in (0.5, 0.95))
    return f"  {name:<7} {1000 * median:.0f} ms median, {1000 * p95:.0f} ms p95 of {len(waits_s)}"


def _ratio(outcome: Outcome, share: float) -> float:
    alone, beside = quantile(outcome.alone_s, share), quantile(outcome.beside_s, share)
    return (beside or 0.0) / (alone or 1.0)
