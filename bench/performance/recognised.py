"""Recognition's results: which turns of `bench.recognition` a figure is about. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from bench.performance.results import Results, Unreadable
from bench.recognition import Compared, word_error_rate

MODEL = "whisper-base"
"""The model that knows all languages of the recordings."""

LEVELS = ("clean", "20 dB", "10 dB", "5 dB")
"""How far the noise is below the speech."""


class Recognition(msgspec.Struct):
    """What bench.recognition writes: every turn, and by model and number of turns recognised
    together, the processor's seconds for one."""

    turns: list[Compared]
    batches: dict[str, dict[int, float]]


def recognition(results: Results) -> Recognition:
    """Raises Unreadable."""
    return results.read("stt", Recognition)


def level(turns: Sequence[Compared], model: str, speakers: str, name: str) -> list[Compared]:
    """The turns of some speakers at a level of noise, whatever its kind. Raises Unreadable."""
    return _some(
        turn
        for turn in turns
        if (turn.model, turn.speakers) == (model, speakers) and turn.condition.endswith(name)
    )


def as_long(turns: Sequence[Compared], model: str, least_s: float, most_s: float) -> list[Compared]:
    """The clean turns of a length. Raises Unreadable."""
    return _some(
        turn
        for turn in turns
        if turn.model == model and turn.condition == "clean" and least_s <= turn.seconds < most_s
    )


def faster(turns: Sequence[Compared]) -> float:
    """How many times as long the defaults take."""
    return sum(turn.defaults.wall_s for turn in turns) / sum(turn.parley.wall_s for turn in turns)


def worse_by(turns: Sequence[Compared]) -> float:
    """How many of 100 words Parley gets wrong more than the defaults do."""
    (_, parley), (_, defaults) = (word_error_rate(turns, side) for side in ("parley", "defaults"))
    return 100 * (parley - defaults)


def _some(turns: Iterable[Compared]) -> list[Compared]:
    found = list(turns)
    if not found:
        raise Unreadable("stt has no turns of a model, speakers or length that the page shows")
    return found
