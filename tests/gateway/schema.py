"""What the official `openai` package says of server events."""

from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel

Json = dict[str, Any]

# The union's members by the type of event they describe.
MEMBERS: dict[str, type[BaseModel]] = {
    get_args(member.model_fields["type"].annotation)[0]: member
    for member in get_args(get_args(RealtimeServerEvent)[0])
}

# Some clients take a null here, where the protocol has no field, for an error.
_NEVER_NULL = ("id", "status", "role", "content", "type", "name", "call_id", "arguments", "output")


def check(*events: Json) -> None:
    """Each event is what the official package's type for it describes, and nothing more.

    What is Parley's own is left out: `parley.…` events, and what a session is shown with beside
    its configuration.
    """
    for event in events:
        if not event["type"].startswith("parley."):
            _check({"event_id": "event_1", **event})


def _check(event: Json) -> None:
    if "session" in event:
        added = ("id", "object", "parley")
        session = {name: value for name, value in event["session"].items() if name not in added}
        event = {**event, "session": session}
    MEMBERS[event["type"]].model_validate(event, extra="forbid")
    items = [event["item"]] if "item" in event else []
    for item in items + event.get("response", {}).get("output", []):
        assert None not in [item.get(name, "") for name in _NEVER_NULL]
        for part in item.get("content", []):
            if part["type"] == "input_audio":
                assert "transcript" in part
