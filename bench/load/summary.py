"""What the records of a run come to. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from bench.load.machine import Costs
from bench.load.record import Ended, Pulse, Record, Turn
from bench.load.scenario import Scenario
from cli.waterfall import Row, median, waterfall

_MOST_PROBLEMS = 20
_LATE_MS = 10.0
"""Of the callers' own: what is later than this is no figure of the server's."""


class Spread(msgspec.Struct, kw_only=True):
    """How a quantity is distributed: percentiles of `count` values."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float
    most: float


class Callers(msgspec.Struct, kw_only=True):
    """What the callers do to a run: the CPU of one of their processes in each of its seconds, in
    cores, and in ms how late its event loop came back to what was due."""

    cores: Spread
    late: Spread

    @property
    def lagged(self) -> bool:
        """Whether the callers were too late themselves for the run's times to be the server's."""
        return self.late.p99 > _LATE_MS


class Summary(msgspec.Struct, kw_only=True):
    """A run in figures. Times in ms; a spread is None where there was nothing to count.

    `served` is voice to voice as the server's own marks tell it: from when it received the last
    sample of speech to when it sent the first of the answer.
    """

    scenario: Scenario
    answered: int
    unanswered: int
    refused: int
    broken: int
    voice_to_voice: Spread | None
    transcript: Spread | None
    text: Spread | None
    served: Spread | None
    stop: Spread | None
    jitter: Spread | None
    underruns: int
    underrun_ms: float
    waterfall: list[Row]
    problems: dict[str, int]
    costs: Costs | None = None
    callers: Callers | None = None

    @property
    def flawless(self) -> bool:
        """Whether every session was let in, every turn answered and every answer without a gap."""
        return not (self.unanswered or self.refused or self.broken or self.underruns)


def summarise(scenario: Scenario, records: Sequence[Record], costs: Costs | None = None) -> Summary:
    """Sums up; the turns that warm up are left out."""
    turns = [r for r in records if isinstance(r, Turn) and scenario.counts(r.number)]
    ends = [record for record in records if isinstance(record, Ended)]
    answered = [turn for turn in turns if not turn.problem]
    said = [*(turn.problem for turn in turns), *(end.problem for end in ends)]
    problems = Counter(filter(None, said))
    return Summary(
        scenario=scenario,
        answered=len(answered),
        unanswered=len(turns) - len(answered),
        refused=sum(end.refused for end in ends),
        broken=sum(bool(end.problem) and not end.refused for end in ends),
        voice_to_voice=spread(turn.audio_ms for turn in answered),
        transcript=spread(turn.transcript_ms for turn in answered),
        text=spread(turn.text_ms for turn in answered),
        served=spread(_served_ms(turn) for turn in answered),
        stop=spread(turn.stop_ms for turn in answered),
        jitter=spread(turn.jitter_ms for turn in answered),
        underruns=sum(turn.underruns for turn in answered),
        underrun_ms=sum(turn.underrun_ms for turn in answered),
        waterfall=median([waterfall(turn.marks) for turn in answered if turn.marks]),
        problems=dict(problems.most_common(_MOST_PROBLEMS)),
        costs=costs,
        callers=_callers([record for record in records if isinstance(record, Pulse)]),
    )


def _callers(pulses: Sequence[Pulse]) -> Callers | None:
    late = spread(late_ms for pulse in pulses for late_ms in pulse.late_ms)
    if late is None:
        return None
    cores = spread(pulse.cpu_s / pulse.seconds for pulse in pulses)
    assert cores is not None
    return Callers(cores=cores, late=late)


def _served_ms(turn: Turn) -> float | None:
    marks = turn.marks
    if "speech_end" not in marks or "audio_out" not in marks:
        return None
    return marks["audio_out"] - marks["speech_end"]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Percentiles of the values that there are, by linear interpolation."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    p50, p90, p95, p99, most = np.percentile(there, [50, 90, 95, 99, 100])
    return Spread(
        count=len(there),
        p50=float(p50),
        p90=float(p90),
        p95=float(p95),
        p99=float(p99),
        most=float(most),
    )
