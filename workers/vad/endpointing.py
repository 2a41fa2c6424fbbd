"""When somebody begins and stops speaking: a pure function of speech probabilities.

Two thresholds and a bounded silence, as in Silero's own iterator: speech begins when a few
windows in a row are above the threshold, and ends after `silence_ms` in which none was and at
least one fell clearly below it.
"""

from dataclasses import dataclass, replace
from typing import Literal

from shared.messages import TurnDetection
from workers.vad.engines import WINDOW

SAMPLES_PER_MS = 16
# A door that slams is one or two windows long; a word is more.
BEGIN_WINDOWS = 3
_HYSTERESIS = 0.15


@dataclass(frozen=True, slots=True)
class Endpointing:
    """The state between two windows; positions are samples since the session opened.

    `voiced` counts windows in a row above the threshold, `quiet_from` is where the present
    silence began (-1: nobody is quiet).
    """

    speaking: bool = False
    voiced: int = 0
    quiet_from: int = -1


@dataclass(frozen=True, slots=True)
class Edge:
    """Speech began or ended at sample `at`."""

    kind: Literal["began", "ended"]
    at: int


def step(
    state: Endpointing, window_at: int, probability: float, rules: TurnDetection
) -> tuple[Endpointing, Edge | None]:
    """Takes in the window of 512 samples at `window_at`."""
    if probability >= rules.threshold:
        return _voiced(state, window_at)
    if not state.speaking:
        return replace(state, voiced=0), None
    return _quiet(state, window_at, probability, rules)


def _voiced(state: Endpointing, window_at: int) -> tuple[Endpointing, Edge | None]:
    voiced = state.voiced + 1
    if state.speaking or voiced < BEGIN_WINDOWS:
        return Endpointing(state.speaking, voiced), None
    return Endpointing(True, voiced), Edge("began", window_at - (voiced - 1) * WINDOW)


def _quiet(
    state: Endpointing, window_at: int, probability: float, rules: TurnDetection
) -> tuple[Endpointing, Edge | None]:
    quiet_from = state.quiet_from
    if quiet_from < 0 and probability < rules.threshold - _HYSTERESIS:
        quiet_from = window_at
    if quiet_from < 0:
        return replace(state, voiced=0), None
    if window_at + WINDOW - quiet_from < rules.silence_ms * SAMPLES_PER_MS:
        return Endpointing(True, 0, quiet_from), None
    return Endpointing(), Edge("ended", quiet_from)
