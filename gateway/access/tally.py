"""What one API key's clients have used, by day: counted here, and kept by the broker over all
gateways."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import msgspec

from shared.audio import SAMPLE_RATE
from shared.broker import Pipe
from shared.keys import AccessKeys
from shared.scripts import access as scripts

DAYS = 31
"""For so many days it is known."""

Field = Literal[
    "sessions",
    "responses",
    "input_samples",
    "output_audio_ms",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
]


class DayUsed(msgspec.Struct, frozen=True):
    """What was used on one day (UTC)."""

    date: str
    sessions: int
    responses: int
    input_audio_seconds: float
    output_audio_seconds: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int


class Tally:
    """What the clients of one key, or all where there are none, use at this gateway."""

    def __init__(self, name: str, pipe: Pipe) -> None:
        self.name = name
        self._key = AccessKeys(name).usage
        self._pipe = pipe
        self._counts: Counter[Field] = Counter()

    def count(self, field: Field, amount: int = 1) -> None:
        """Counts something, which `save` has the broker keep."""
        self._counts[field] += amount

    async def save(self) -> None:
        """Has the broker keep what was counted."""
        counted = +self._counts
        if not counted:
            return
        self._counts -= counted
        try:
            await scripts.count_use(self._pipe, self._key, counted.items(), days=DAYS)
        except BaseException:
            self._counts += counted
            raise

    async def days(self, most: int) -> list[DayUsed]:
        """The last days on which anything was used, at most `most`, the latest first."""
        used = await scripts.used(self._pipe, self._key)
        return [_day(date, used[date]) for date in sorted(used, reverse=True)[:most]]


def _day(date: str, used: Mapping[str, int]) -> DayUsed:
    return DayUsed(
        date=date,
        sessions=used.get("sessions", 0),
        responses=used.get("responses", 0),
        input_audio_seconds=round(used.get("input_samples", 0) / SAMPLE_RATE, 3),
        output_audio_seconds=round(used.get("output_audio_ms", 0) / 1000, 3),
        input_tokens=used.get("input_tokens", 0),
        cached_tokens=used.get("cached_tokens", 0),
        output_tokens=used.get("output_tokens", 0),
    )
