"""Who gets in, and how much of the gateway each of them gets.

`presented` reads what a client shows, `access` decides and keeps the broker's counts, `usage` is
one key's use and `grant` one connection's, `bounds` limits connections before anybody is known.
docs/security.md says what all of it is for.
"""

from gateway.access.access import Access, Client, patience
from gateway.access.denied import Denied, Exceeded
from gateway.access.grant import Grant, Remaining

__all__ = ["Access", "Client", "Denied", "Exceeded", "Grant", "Remaining", "patience"]
