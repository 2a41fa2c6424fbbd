"""API keys: who may use a gateway, and how much of it.

A key has 256 random bits, so its SHA-256 tells nothing about it: there is no dictionary to try, and
a slow password hash would only make each connection slow.
"""

import hmac
import secrets
from collections.abc import Sequence
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field

_PREFIX = "parley_"


class ApiKey(BaseModel):
    """One key of `PARLEY_API_KEYS`; a limit that is absent is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Whose it is, in logs and in the broker."
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="The key's SHA-256.")
    sessions: int | None = Field(default=None, ge=1, description="Sessions at a time.")
    session_minutes: float | None = Field(default=None, gt=0, description="Longest session.")
    audio_minutes: float | None = Field(
        default=None, gt=0, description="Audio that its clients may send in a day (UTC)."
    )
    requests_per_s: float | None = Field(
        default=None,
        ge=0.1,
        le=10_000,
        description="Events of its clients, but for audio, on average; ten seconds' worth at once.",
    )


def fresh() -> str:
    """A new key."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """What is kept of a key: its SHA-256, in hexadecimal."""
    return sha256(key.encode()).hexdigest()


def find(keys: Sequence[ApiKey], presented: str) -> ApiKey | None:
    """Whose key this is. Takes the same time whichever it is, or if it is none."""
    known = digest(presented)
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, known):
            found = key
    return found
