"""One OpenTelemetry trace for each turn, over all processes; off without `PARLEY_TRACES_URL`.

A turn's trace is begun where the turn ends and travels in its messages, as a `traceparent` of W3C
Trace Context that no stage changes: all spans of a turn are children of its first. A stage only
notes when it began and what it reached; its span is made of that afterwards, and sent by a thread.
Spans say how long and how much, never what was said.

Without a collector nothing of OpenTelemetry is imported, and `begin` gives the empty trace, of
which there are no spans.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from shared.messages import Marks
from shared.settings import Settings

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Span:
    """What one process did for a turn, from `start_ms` to `end_ms` of the wall clock.

    `first` is the span that the trace begins with. `events` are the moments in between. `error` is
    what kind of error ended it, if one did.
    """

    name: str
    start_ms: int
    end_ms: int
    attributes: Mapping[str, Value]
    events: Marks = field(default_factory=dict)
    error: str = ""
    first: bool = False


class Exporter(Protocol):
    """Where spans go."""

    def add(self, trace: str, span: Span) -> None:
        """Has a span sent some time; returns at once, and drops it if too many wait."""
        ...

    def close(self) -> None:
        """Sends what waits, for a few seconds at most; blocks."""
        ...


_exporter: Exporter | None = None
_ratio = 0.0


@asynccontextmanager
async def exporting(process: str, config: Settings, model: str = "") -> AsyncIterator[None]:
    """Sends this process's spans to the collector that the settings name, if they name one."""
    global _exporter, _ratio
    if config.traces_url is None:
        yield
        return
    _exporter = await asyncio.to_thread(_open, process, config.traces_url, model)
    _ratio = config.traces_ratio
    try:
        yield
    finally:
        exporter, _exporter, _ratio = _exporter, None, 0.0
        await asyncio.to_thread(exporter.close)


def _open(process: str, url: str, model: str) -> Exporter:
    from shared.traces_otlp import OtlpExporter  # takes a third of a second

    return OtlpExporter(process, url, model)


def begin() -> str:
    """A new trace; the empty one, of which there are no spans, where this turn leaves none."""
    if random.random() >= _ratio:
        return ""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def export(trace: str, span: Span) -> None:
    """Adds a span to a trace."""
    if trace and _exporter is not None:
        _exporter.add(trace, span)
