"""Configurations as tests of them make them."""

import json
from typing import Any

from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.incoming import SessionUpdate, parse
from shared.settings import Settings

SETTINGS = Settings(instructions="Be kind.", tts_voice="joe", silence_ms=400)
LOOK_UP = {"type": "function", "name": "look_up", "description": "d", "parameters": {}}
HANG_UP = {"type": "function", "name": "hang_up"}


def fresh() -> Configuration:
    return Configuration(SETTINGS, "parley")


def apply(configuration: Configuration, **session: Any) -> Configuration:
    """As an update that comes over the wire."""
    request = parse(json.dumps({"type": "session.update", "session": session}))
    assert isinstance(request, SessionUpdate)
    return configuration.updated(request.session.model_dump(exclude_unset=True))


def hearing(configuration: Configuration, **fields: Any) -> Configuration:
    return apply(configuration, audio={"input": fields})


def speaking(configuration: Configuration, **fields: Any) -> Configuration:
    return apply(configuration, audio={"output": fields})
