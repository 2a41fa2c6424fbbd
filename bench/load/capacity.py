"""How many sessions a server carries. Pure but for what it is given to try with."""

from collections.abc import Awaitable, Callable

from bench.load.summary import Summary


def carried(summary: Summary, bound_ms: float) -> bool:
    """Whether a run went well: nobody refused, no turn unanswered, no gap in an answer, and the
    95th percentile of voice to voice within the bound."""
    found = summary.voice_to_voice
    return found is not None and summary.flawless and found.p95 <= bound_ms


async def largest(
    attempt: Callable[[int], Awaitable[Summary]], bound_ms: float, *, most: int, first: int = 1
) -> tuple[int, list[Summary]]:
    """The largest number of sessions that is carried, and every run on the way.

    Doubles from `first` on until a run fails, then halves the interval, to within a twentieth.
    """
    runs: list[Summary] = []

    async def holds(sessions: int) -> bool:
        runs.append(await attempt(sessions))
        return carried(runs[-1], bound_ms)

    good, bad = 0, first
    while bad <= most and await holds(bad):
        good, bad = bad, bad * 2
    bad = min(bad, most + 1)
    while bad - good > max(1, good // 20):
        middle = (good + bad) // 2
        if await holds(middle):
            good = middle
        else:
            bad = middle
    return good, runs
