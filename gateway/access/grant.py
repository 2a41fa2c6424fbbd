"""What a client that was let in may do, for as long as it is connected."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.access.denied import Denied, Exceeded
from gateway.access.tally import Tally
from gateway.access.usage import Usage
from gateway.answer import Answer
from shared.broker import Pipe
from shared.ids import new_id
from shared.keys import SessionKeys
from shared.scripts import SESSION_TTL_S


class Remaining(NamedTuple):
    """Requests as `rate_limits.updated` shows them: how many may come at once, how many may come
    now, and the seconds until all may again."""

    limit: int
    remaining: int
    reset_s: float


class _Owner(msgspec.Struct, frozen=True):
    """What the broker keeps of a session beside it: its key, its beginning, its lease."""

    key: str
    opened_s: float
    lease: str


class Grant:
    """One connection's: `async with grant` gives back at the end what it took.

    `usage` is None where no key is asked for, and until `begin` for a client that has the ticket
    of a session. `session` is the configuration to begin with, as `session.update` would have it.
    """

    def __init__(
        self,
        pipe: Pipe,
        usages: dict[str, Usage],
        tallies: Mapping[str, Tally],
        usage: Usage | None,
        session: Any = None,
    ) -> None:
        self.session: dict[str, Any] | None = session
        self._pipe = pipe
        self._usages = usages
        self._tallies = tallies
        self._usage = usage
        self._lease = new_id("lease")
        self._keys: SessionKeys | None = None
        self._left_s: float | None = None
        self._silenced = asyncio.Event()

    async def enter(self) -> None:
        """Takes what a new session needs.

        Raises:
            Denied: the key's limits allow no more.
        """
        if self._usage is not None:
            await self._usage.enter(self._lease)

    async def begin(self, keys: SessionKeys, *, fresh: bool) -> None:
        """The session that was opened, or resumed with its ticket.

        Raises:
            Denied: of a session that is resumed, the key is gone, or its limits are reached.
        """
        if fresh:
            self._tally.count("sessions")
        if not self._usages:
            return
        seconds, micros = await self._pipe.command("TIME")
        now_s = int(seconds) + int(micros) / 1e6
        owner = _Owner(self._usage.key.name if self._usage else "", now_s, self._lease)
        if not fresh:
            owner = await self._resume(keys, owner)
        self._keys = keys
        value = msgspec.json.encode(owner)
        await self._pipe.command("SET", keys.owner, value, "EX", SESSION_TTL_S)
        assert self._usage is not None
        if (minutes := self._usage.key.session_minutes) is not None:
            self._left_s = max(60 * minutes - (now_s - owner.opened_s), 0.0)

    async def _resume(self, keys: SessionKeys, now: _Owner) -> _Owner:
        known = await self._pipe.command("GET", keys.owner)
        before = msgspec.json.decode(known, type=_Owner) if known else now
        self._usage = self._usages.get(before.key)
        if self._usage is None:
            raise Denied(403, "the session's API key is not valid any more", "invalid_api_key")
        await self._usage.enter(self._lease, before.lease)
        return _Owner(before.key, before.opened_s, self._lease)

    async def request(self) -> None:
        """Counts an event of the client's that is no audio.

        Raises:
            Exceeded: there were too many; the connection may go on.
        """
        if self._usage is not None:
            await self._usage.request()

    def hear(self, samples: int) -> None:
        """Counts audio of the client's at 16 kHz."""
        self._tally.count("input_samples", samples)
        if self._usage is not None and not self._usage.hear(samples):
            self._silenced.set()

    def answered(self, answer: Answer) -> None:
        """Counts a response that has ended."""
        self._tally.count("responses")
        self._tally.count("output_audio_ms", answer.sent_ms)
        if answer.done is not None:
            self._tally.count("input_tokens", answer.done.input_tokens)
            self._tally.count("cached_tokens", answer.done.cached_tokens)
            self._tally.count("output_tokens", answer.done.output_tokens)

    @property
    def _tally(self) -> Tally:
        return self._tallies[self._usage.key.name if self._usage else ""]

    def remaining(self) -> Remaining | None:
        """What is left of the key's rate; None if it has none, or nothing was asked yet."""
        if self._usage is None or self._usage.rate is None:
            return None
        rate = self._usage.rate
        return Remaining(self._usage.burst, rate.remaining, rate.wait_ms / 1000)

    async def watch(self) -> None:
        """Waits until the session must end.

        Raises:
            Exceeded: it has lasted as long, or its key has sent as much audio, as it may.
        """
        try:
            async with asyncio.timeout(self._left_s):
                await self._silenced.wait()
        except TimeoutError:
            assert self._usage is not None
            raise Exceeded(
                f"the session has lasted {self._usage.key.session_minutes:g} minutes,"
                " the most that its API key allows",
                "session_expired",
            ) from None
        assert self._usage is not None
        raise Exceeded(self._usage.silenced())

    async def renew(self) -> None:
        """Keeps what the broker has of the session beside it."""
        if self._keys is not None:
            await self._pipe.command("EXPIRE", self._keys.owner, SESSION_TTL_S)

    async def forget(self) -> None:
        """The session is over, and not only the connection."""
        if self._keys is not None:
            await self._pipe.command("DEL", self._keys.owner)

    async def leave(self) -> None:
        """Gives back what was taken."""
        if self._usage is not None:
            await self._usage.leave(self._lease)
