"""How access is denied, and how it ends."""

from collections.abc import Mapping


class Denied(Exception):
    """A request that is answered with an HTTP error, in a sentence."""

    def __init__(
        self, status: int, message: str, code: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


class Exceeded(Exception):
    """A client has had as much as its key allows, in a sentence; `code` as the protocol's."""

    def __init__(self, message: str, code: str = "rate_limit_exceeded") -> None:
        super().__init__(message)
        self.code = code


def unauthorized(message: str) -> Denied:
    """No key that gets in was presented."""
    return Denied(401, message, "invalid_api_key", {"WWW-Authenticate": "Bearer"})


def too_many(message: str, retry_after_s: float) -> Denied:
    """A key's limit is reached, until later."""
    later = {"Retry-After": str(max(1, round(retry_after_s + 0.5)))}
    return Denied(429, message, "rate_limit_exceeded", later)
