"""What goes wrong, as exceptions."""


class ParleyError(Exception):
    """The conversation cannot go on; the message is one sentence for a person to read."""


class Unavailable(ParleyError):
    """Not now, but perhaps later: the server is full, restarting, or not there yet.

    `retry_after_s`: how long the server asks to be left alone; 0.0 where it says nothing.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServerError(ParleyError):
    """An `error` event. The connection lives on: raising it is up to who reads the events."""

    def __init__(
        self,
        message: str,
        code: str | None = None,
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        """`param`: the field at fault; `event_id`: the client event that caused it."""
        super().__init__(message)
        self.code = code
        self.param = param
        self.event_id = event_id
