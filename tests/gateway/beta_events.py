"""Events of the beta, held to the types that the package has for them."""

import json
from collections.abc import Iterator, Set
from typing import Any, get_args

from openai.types.beta.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel, ValidationError

from gateway.protocols.realtime.beta import from_ga, to_ga
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.incoming import SessionUpdate, parse
from shared.settings import Settings

Json = dict[str, Any]

SETTINGS = Settings(instructions="Be kind.", tts_voice="joe", silence_ms=400)
LOOK_UP = {"type": "function", "name": "look_up", "description": "d", "parameters": {}}


def members(union: Any) -> Iterator[type[BaseModel]]:
    for member in get_args(union):
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield member
        else:
            yield from members(member)


def defined(union: Any) -> dict[str, type[BaseModel]]:
    """Events of the package by their type."""
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in members(union)}


CLIENT = defined(RealtimeClientEvent)
SERVER = defined(RealtimeServerEvent)


def sent(event: Json) -> Any:
    """A client's event of the beta, which the package defines, as today's protocol reads it."""
    CLIENT[event["type"]].model_validate(event)
    return parse(json.dumps(to_ga(event)))


def shown(event: Json, *, but: Set[str] = frozenset()) -> list[Json]:
    """The events of the beta for one of today's. The package defines all of them, but for the
    fields named."""
    events = from_ga(event)
    for each in events:
        assert unknown({"event_id": "event_1", **each}) == but
    return events


def unknown(event: Json) -> set[str]:
    """The fields of a server's event that are not as the package has them."""
    try:
        SERVER[event["type"]].model_validate(event, extra="forbid")
    except ValidationError as error:
        return {".".join(map(str, problem["loc"])) for problem in error.errors()}
    return set()


def updated(configuration: Configuration, **fields: Any) -> Configuration:
    request = sent({"type": "session.update", "session": fields})
    assert isinstance(request, SessionUpdate)
    return configuration.updated(request.session.model_dump(exclude_unset=True))


def echoed(configuration: Configuration) -> Json:
    """The session as a client of the beta sees it."""
    session = {"id": "sess_1", **configuration.shown}
    (event,) = shown({"type": "session.updated", "session": session}, but={"session.object"})
    echo: Json = event["session"]
    return echo
