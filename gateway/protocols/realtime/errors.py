"""What the protocol says of a request that cannot be carried out."""


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
