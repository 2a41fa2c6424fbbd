"""What events speak of: items, responses and problems, as far as a program goes by them."""

from typing import Any

import msgspec

Json = dict[str, Any]


class Part(msgspec.Struct, frozen=True):
    """A part of a message: `type` says whether `text` or `transcript` has its words."""

    type: str
    text: str | None = None
    transcript: str | None = None


class Item(msgspec.Struct, frozen=True):
    """An item of the conversation: a message with its parts, a function call or its output."""

    id: str
    type: str
    status: str | None = None
    role: str | None = None
    content: list[Part] = []
    name: str | None = None
    call_id: str | None = None
    arguments: str | None = None
    output: str | None = None


class Response(msgspec.Struct, frozen=True):
    """A response: `status` is in_progress, completed, cancelled, incomplete or failed."""

    id: str
    status: str
    status_details: Json | None = None
    output: list[Item] = []
    usage: Json | None = None

    @property
    def reason(self) -> str | None:
        """Why it is cancelled, incomplete or failed."""
        details = self.status_details or {}
        return details.get("reason") or (details.get("error") or {}).get("message")


class Problem(msgspec.Struct, frozen=True):
    """What an `ErrorEvent` or a failed transcription says."""

    message: str
    code: str | None = None
    param: str | None = None
    event_id: str | None = None
