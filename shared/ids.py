"""Identifiers and clocks."""

import secrets
import time


def new_id(prefix: str) -> str:
    """A fresh id such as `sess_3f…`: 96 random bits, safe in a key, a URL and a log line."""
    return f"{prefix}_{secrets.token_hex(12)}"


def now_ms() -> int:
    """Wall-clock time in milliseconds: what marks carry, so that processes can be compared."""
    return time.time_ns() // 1_000_000
