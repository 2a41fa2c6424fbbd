"""Identifiers and clocks."""

import re
import secrets
import time
from hashlib import sha256


def new_id(prefix: str) -> str:
    """A fresh id such as `sess_3f…`: 96 random bits, safe in a key, a URL and a log line."""
    return f"{prefix}_{secrets.token_hex(12)}"


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the form of an id: what a client calls one may become part of a key."""
    return re.fullmatch(rf"{prefix}_[0-9a-f]{{24}}", text) is not None


def derived_id(prefix: str, parent: str) -> str:
    """The id of what follows from `parent`: the same each time, for work that is done again."""
    return f"{prefix}_{sha256(f'{prefix} {parent}'.encode()).hexdigest()[:24]}"


def now_ms() -> int:
    """Wall-clock time in milliseconds: what marks carry, so that processes can be compared."""
    return time.time_ns() // 1_000_000
