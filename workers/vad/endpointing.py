"""When somebody begins and stops speaking: a pure function of speech probabilities, and of what
a model that was asked says about the turn.

Two thresholds and a bounded silence, as in Silero's own iterator: speech begins when a few
windows in a row are above the threshold. It ends after a silence in which none was and at least
one fell clearly below it. How long a silence is what differs: always `silence_ms`; or, with an
`eagerness`, until a model that is asked now and then says that the turn is over.
"""

from dataclasses import dataclass, replace
from typing import Literal

from shared.messages import TurnDetection
from workers.vad.engines import WINDOW

SAMPLES_PER_MS = 16
# A door that slams is one or two windows long; a word is more.
BEGIN_WINDOWS = 3
_HYSTERESIS = 0.15

# Of the silence that ends a turn, this much belongs to it: a word's last consonant is quieter than
# what the model calls speech. What comes next is begun then, so it is no more than words need:
# docs/performance/recognition.md.
TAIL_MS = 128

# The first question comes after as much silence as the model was trained with. With more of it
# the model finds ever more turns over: of sentences cut short it recognised 40 % after 200 ms of
# silence, 27 % after 300 and 2 % after a second, of whole ones 85 %, 89 % and 93 %.
_FIRST_QUESTION_MS = 200
# So it is asked again at the quarters of the longest wait: who wants to be waited for, is.
_LONGEST_WAIT_MS = {"low": 8_000, "medium": 4_000, "high": 2_000}
_OVER = 0.5


@dataclass(frozen=True, slots=True)
class Endpointing:
    """The state between two windows; positions are samples since the session opened.

    `voiced` counts windows in a row above the threshold, `quiet_from` is where the present
    silence began (-1: nobody is quiet). `asking` says that `answered` comes before the next
    window.
    """

    speaking: bool = False
    voiced: int = 0
    quiet_from: int = -1
    asking: bool = False


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
        return (replace(state, voiced=0) if state.voiced else state), None
    return _quiet(state, window_at, probability, rules)


def pauses(state: Endpointing, heard: int) -> bool:
    """Whether, at sample `heard`, a silence has just become as long as a turn's tail: nothing that
    comes later is part of a turn that ended with it."""
    return state.quiet_from >= 0 and _reaches(heard - state.quiet_from, TAIL_MS)


def answered(state: Endpointing, probability: float) -> tuple[Endpointing, Edge | None]:
    """Takes in how likely the turn is over, where the state is asking for it."""
    if probability >= _OVER:
        return Endpointing(), Edge("ended", state.quiet_from)
    return replace(state, asking=False), None


def _voiced(state: Endpointing, window_at: int) -> tuple[Endpointing, Edge | None]:
    if state.speaking and state.quiet_from < 0:
        return state, None  # how long it has lasted has no meaning any more
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
    silence = window_at + WINDOW - quiet_from
    longest_ms = _LONGEST_WAIT_MS[rules.eagerness] if rules.eagerness else rules.silence_ms
    if silence >= longest_ms * SAMPLES_PER_MS:
        return Endpointing(), Edge("ended", quiet_from)
    asking = rules.eagerness is not None and _is_due(silence, longest_ms)
    return Endpointing(True, 0, quiet_from, asking), None


def _is_due(silence: int, longest_ms: int) -> bool:
    """Whether a question falls into the last window of a silence of so many samples."""
    due_ms = (_FIRST_QUESTION_MS, *(longest_ms * quarter // 4 for quarter in (1, 2, 3)))
    return any(_reaches(silence, ms) for ms in due_ms)


def _reaches(silence: int, milliseconds: int) -> bool:
    """Whether a silence has become as long in its last window."""
    return 0 <= silence - milliseconds * SAMPLES_PER_MS < WINDOW
