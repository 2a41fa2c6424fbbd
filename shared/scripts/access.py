"""Typed wrappers of the scripts that count what is used of an API key."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.broker import Argument, Pipe, fields_of

# No session's: what every script's arguments begin with.
_NO_SESSION: tuple[Argument, ...] = (0, "", "")


class Rate(NamedTuple):
    """What is left of a rate: whether one more was allowed, how many more are now, and the ms
    until all are again or, if it was not allowed, until it is."""

    allowed: bool
    remaining: int
    wait_ms: int


class Spent(NamedTuple):
    """The audio of this day (UTC) in ms, and how many seconds the day has left."""

    audio_ms: int
    left_s: int


async def take_lease(
    pipe: Pipe, key: str, lease: str, *, most: int | None, lasts_ms: int, before: str = ""
) -> bool:
    """Takes a lease, of `most` that `key` holds at a time; whether there was one.

    If the lease `before` still lasts, the new one takes its place.
    """
    arguments = [*_NO_SESSION, most or 0, lasts_ms, lease, before]
    return bool(await pipe.script("take_lease", [key], arguments))


async def renew_leases(pipe: Pipe, key: str, leases: Sequence[str], *, lasts_ms: int) -> None:
    """Has `leases` last for `lasts_ms` from now."""
    arguments = [*_NO_SESSION, lasts_ms, len(leases), *leases]
    await pipe.script("renew_leases", [key], arguments)


async def free_lease(pipe: Pipe, key: str, lease: str) -> None:
    """Gives a lease back."""
    await pipe.command("ZREM", key, lease)


async def take_request(pipe: Pipe, key: str, *, per_s: float, burst: int) -> Rate:
    """Counts one request against a rate of `per_s`, of which `burst` may come at once."""
    arguments = [*_NO_SESSION, 1_000_000 / per_s, burst]
    allowed, remaining, wait_ms = await pipe.script("take_request", [key], arguments)
    return Rate(bool(allowed), remaining, wait_ms)


async def spend_audio(pipe: Pipe, key: str, audio_ms: int) -> Spent:
    """Counts audio against this day's."""
    return Spent(*await pipe.script("spend_audio", [key], [*_NO_SESSION, audio_ms]))


async def count_use(pipe: Pipe, key: str, counts: Iterable[tuple[str, int]], *, days: int) -> None:
    """Adds to what was used on this day, and lets go of what was more than `days` ago."""
    fields, amounts = zip(*counts, strict=True)
    arguments = [*_NO_SESSION, days, len(fields), *fields, len(amounts), *amounts]
    await pipe.script("count_use", [key], arguments)


async def used(pipe: Pipe, key: str) -> dict[str, dict[str, int]]:
    """What was used, by day (ISO 8601, UTC) and field."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, amount in fields_of(await pipe.command("HGETALL", key)).items():
        day, _, field = name.decode().partition(":")
        date = datetime.fromtimestamp(0, UTC) + timedelta(days=int(day))
        found[date.date().isoformat()][field] = int(amount)
    return found
