"""Leases: how long a worker may be silent before another takes what it holds."""

import time

LEASE_MS = 1_500
ROUND_S = 0.3
"""How often leases are renewed, and what others left is looked for."""


class Standstill:
    """Notices when this process or the broker stood still for longer than a lease.

    Everybody's leases have run out then, though their owners live: they get the time of another
    one to renew them before anything is taken from them.
    """

    def __init__(self) -> None:
        self._seen_s = time.monotonic()
        self._until_s = 0.0

    def over(self) -> bool:
        """Whether what looks abandoned is abandoned; asked in each round, after a reply."""
        now_s = time.monotonic()
        if now_s - self._seen_s > LEASE_MS / 1000:
            self._until_s = now_s + LEASE_MS / 1000
        self._seen_s = now_s
        return now_s >= self._until_s
