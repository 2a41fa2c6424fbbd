"""A turn's waterfall, as people are shown it."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.bar import Bar
from rich.table import Table

from shared.messages import MARKS
from shared.waterfall import parts

# What ends at each mark but the first.
STAGES = {
    "turn_end": "end-of-turn silence and decision",
    "stt_start": "recognition, queue",
    "stt_end": "recognition",
    "llm_start": "language model, queue",
    "llm_first_token": "language model, first token",
    "llm_first_segment": "language model, first segment",
    "tts_start": "synthesis, queue",
    "tts_first_chunk": "synthesis, first audio",
    "audio_out": "delivery",
}
TOTAL = "end of speech to first audio"

BAR_COLUMNS = 36


@dataclass(frozen=True)
class Row:
    """One stage of a turn; times in ms, `start_ms` counted from the end of speech."""

    stage: str
    start_ms: float
    duration_ms: float


def waterfall(marks: Mapping[str, float]) -> list[Row]:
    """The stages of a turn in order, and last the total, from its marks in ms: its parts, as
    `parts` tells them."""
    rows = [Row(STAGES[part.mark], part.start_ms, part.duration_ms) for part in parts(marks)]
    if not rows or MARKS[-1] not in marks:
        return rows
    return [*rows, Row(TOTAL, 0, rows[-1].start_ms + rows[-1].duration_ms)]


def median(turns: Sequence[Sequence[Row]]) -> list[Row]:
    """Every stage's median over `turns`, the total's too: they need not add up."""
    by_stage: dict[str, list[Row]] = {}
    for row in (row for rows in turns for row in rows):
        by_stage.setdefault(row.stage, []).append(row)
    order = [*STAGES.values(), TOTAL]
    return [
        Row(
            stage,
            statistics.median(row.start_ms for row in by_stage[stage]),
            statistics.median(row.duration_ms for row in by_stage[stage]),
        )
        for stage in order
        if stage in by_stage
    ]


def table(rows: Iterable[Row], title: str) -> Table:
    """`rows` as bars on one time axis."""
    rows = list(rows)
    span = max((row.start_ms + row.duration_ms for row in rows), default=0)
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    drawn.add_column("stage")
    drawn.add_column("ms", justify="right")
    drawn.add_column("", min_width=BAR_COLUMNS)
    for row in rows:
        bar = Bar(span, row.start_ms, row.start_ms + row.duration_ms, width=BAR_COLUMNS)
        style = "bold" if row.stage == TOTAL else None
        drawn.add_row(row.stage, f"{row.duration_ms:.0f}", bar, style=style)
    return drawn
