"""Pieces of Markdown."""

import math
from collections.abc import Iterable, Sequence

from bench.load.summary import Spread


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table; its first `words` columns are text, the others figures."""
    aligned = [*["---"] * words, *["---:"] * (len(columns) - words)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, aligned, *rows))


def figure(value: float, unit: str = "") -> str:
    """A number with as many digits as it is worth, and its unit."""
    if math.isinf(value):
        return "∞"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {unit}".rstrip()


def ms(found: Spread | None, percentile: str) -> str:
    """A percentile in whole milliseconds; empty where there was nothing to count."""
    return "" if found is None else f"{getattr(found, percentile):.0f}"
