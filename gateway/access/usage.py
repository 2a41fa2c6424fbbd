"""What is used of one API key: counted here, and by the broker over all gateways."""

import asyncio
import math

from gateway.access.denied import Exceeded, too_many
from shared.api_keys import ApiKey
from shared.audio import SAMPLE_RATE
from shared.broker import Pipe
from shared.keys import AccessKeys
from shared.scripts import access as scripts
from shared.scripts.access import Rate

LEASE_S = 20
"""How long the broker counts the sessions of a gateway that has died."""

_RETRY_S = 5  # sessions end when they do
_BURST_S = 10


class Usage:
    """One key's use by the clients of this gateway."""

    def __init__(self, key: ApiKey, pipe: Pipe) -> None:
        self.key = key
        self.rate: Rate | None = None
        self._keys = AccessKeys(key.name)
        self._pipe = pipe
        self._leases: set[str] = set()
        self._heard = 0  # samples that the broker has not counted yet
        self._none_until_s = 0.0

    @property
    def burst(self) -> int:
        """How many requests may come at once."""
        return max(1, math.ceil((self.key.requests_per_s or 0) * _BURST_S))

    async def enter(self, lease: str, before: str = "") -> None:
        """Begins a session, or goes on with the one that had the lease `before`.

        Raises:
            Denied: the key has all its sessions, or all its audio of this day.
        """
        if self.key.audio_minutes is not None:
            await self._spend(0)
            if (left_s := self._none_until_s - _now_s()) > 0:
                raise too_many(self.silenced(), left_s)
        if self.key.sessions is None:
            return
        self._leases.add(lease)
        if await scripts.take_lease(
            self._pipe,
            self._keys.sessions,
            lease,
            most=self.key.sessions,
            lasts_ms=LEASE_S * 1000,
            before=before,
        ):
            return
        self._leases.discard(lease)
        raise too_many(f"the API key's {self.key.sessions} sessions are all in use", _RETRY_S)

    async def leave(self, lease: str) -> None:
        """Ends what `enter` began."""
        if lease in self._leases:
            self._leases.discard(lease)
            await scripts.free_lease(self._pipe, self._keys.sessions, lease)

    async def request(self) -> None:
        """Counts a request.

        Raises:
            Exceeded: there were too many.
        """
        if self.key.requests_per_s is None:
            return
        self.rate = await scripts.take_request(
            self._pipe, self._keys.rate, per_s=self.key.requests_per_s, burst=self.burst
        )
        if not self.rate.allowed:
            raise Exceeded(
                f"the API key allows {self.key.requests_per_s:g} requests a second:"
                f" try again in {self.rate.wait_ms / 1000:.1f} s"
            )

    def hear(self, samples: int) -> bool:
        """Counts audio of 16 kHz; whether the key has any left."""
        if self.key.audio_minutes is None:
            return True
        self._heard += samples
        return self._none_until_s <= _now_s()

    def silenced(self) -> str:
        """Why there is no more audio."""
        return (
            f"the API key's {self.key.audio_minutes:g} minutes of audio for this day (UTC) are"
            " used up"
        )

    async def save(self) -> None:
        """Has the broker count what was heard."""
        audio_ms = self._heard * 1000 // SAMPLE_RATE
        if not audio_ms:
            return
        counted = audio_ms * SAMPLE_RATE // 1000
        self._heard -= counted
        try:
            await self._spend(audio_ms)
        except BaseException:
            self._heard += counted
            raise

    async def renew(self) -> None:
        """Keeps the leases of the sessions served here."""
        if self._leases:
            await scripts.renew_leases(
                self._pipe, self._keys.sessions, [*self._leases], lasts_ms=LEASE_S * 1000
            )

    async def _spend(self, audio_ms: int) -> None:
        assert self.key.audio_minutes is not None
        spent = await scripts.spend_audio(self._pipe, self._keys.audio, audio_ms)
        used_up = spent.audio_ms >= self.key.audio_minutes * 60_000
        self._none_until_s = _now_s() + spent.left_s if used_up else 0.0


def _now_s() -> float:
    return asyncio.get_running_loop().time()
