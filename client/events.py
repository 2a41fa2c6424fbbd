"""What a server says: events, and errors as exceptions."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from shared.audio import Int16, pcm16


class ParleyError(Exception):
    """The conversation cannot go on; the message is one sentence for a person to read."""


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


@dataclass(frozen=True)
class Event:
    """One server event: its `type`, and its fields as the protocol names them.

    `event["delta"]` reads a field and raises KeyError where the event has none.
    """

    type: str
    fields: dict[str, Any]

    @classmethod
    def parse(cls, message: str | bytes) -> "Event":
        """The event in a WebSocket message.

        Raises:
            ParleyError: not a JSON object with a `type`.
        """
        try:
            fields = json.loads(message)
            return cls(fields["type"], fields)
        except (ValueError, TypeError, KeyError) as error:
            raise ParleyError(
                f"the server must send JSON objects with a type, not {message[:60]!r}"
            ) from error

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    @property
    def audio(self) -> Int16:
        """The audio of a `response.output_audio.delta`: int16 (n,) at 24 kHz."""
        return pcm16(base64.b64decode(self["delta"]))

    @property
    def response_id(self) -> str | None:
        """The response that the event belongs to or describes."""
        named: str | None = self.fields.get("response_id")
        return named or self.fields.get("response", {}).get("id")

    @property
    def error(self) -> ServerError | None:
        """An `error` event as an exception; None for every other event."""
        if self.type != "error":
            return None
        error = self["error"]
        return ServerError(
            error["message"], error.get("code"), error.get("param"), error.get("event_id")
        )
