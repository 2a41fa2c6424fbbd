"""What the protocol says of a request that cannot be carried out."""

from collections.abc import Iterable

_LONGEST_NAME = 256


def field(path: Iterable[int | str]) -> str:
    """The name of a field by its path, no longer than an error may be."""
    name = ".".join(map(str, path))
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


class ProtocolError(Exception):
    """What a client sent cannot be done: `message` says why in a sentence, `param` names the
    field, `code` is the protocol's own where it has one."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_value",
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.event_id = event_id
