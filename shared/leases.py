"""Leases: how long a worker may be silent before another takes what it holds."""

import time

LEASE_MS = 1_500
ROUND_S = 0.3
"""How often leases are renewed, and what others left is looked for."""


# The others' leases may have been renewed a round before this process saw the broker last, and
# will be a round after it sees it again.
_STILL_S = LEASE_MS / 1000 - 2 * ROUND_S


class Standstill:
    """Notices when this process or the broker stood still for so long that leases may have run out
    whose owners live: they get the time of another one to renew them before anything is taken.
    """

    def __init__(self) -> None:
        self._seen_s = time.monotonic()
        self._until_s = 0.0

    def over(self) -> bool:
        """Whether what looks abandoned is abandoned; asked in each round, after a reply."""
        now_s = time.monotonic()
        if now_s - self._seen_s > _STILL_S:
            self._until_s = now_s + LEASE_MS / 1000
        self._seen_s = now_s
        return now_s >= self._until_s
