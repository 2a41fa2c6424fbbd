"""What a client is given, as its user would give it: an address, a key, and something to say."""

import json
import math
import os
import sys
from array import array
from typing import Any

URL = os.environ["PARLEY_URL"]  # http://host:port/v1
WEBSOCKET_URL = URL.replace("http", "ws", 1) + "/realtime"
KEY = os.environ["PARLEY_KEY"]
DEADLINE_S = float(os.environ["PARLEY_DEADLINE_S"])
"""For everything a script does; whoever runs it gives it a little more."""

RATE = 24_000
CHUNK_S = 0.1
CHUNK_BYTES = round(RATE * CHUNK_S) * 2

# A long question makes a long answer, which leaves time to speak while it is heard.
LONG_QUESTION = "What do you know about " + "the ships that pass in the night, " * 12 + "dear?"
TOOL_QUESTION = "Please call get_weather for me."
WEATHER = "sunny, 21 degrees"


def speech(seconds: float) -> bytes:
    """PCM16 at 24 kHz that the `energy` engine takes for speech."""
    step = 2 * math.pi * 300 / RATE
    samples = (int(9_000 * math.sin(step * index)) for index in range(round(RATE * seconds)))
    return array("h", samples).tobytes()


def silence(seconds: float) -> bytes:
    """PCM16 at 24 kHz."""
    return bytes(2 * round(RATE * seconds))


def chunks(audio: bytes) -> list[bytes]:
    """The audio in pieces of `CHUNK_S`, the last maybe shorter."""
    return [audio[at : at + CHUNK_BYTES] for at in range(0, len(audio), CHUNK_BYTES)]


def seconds(audio_bytes: int) -> float:
    """How long so much PCM16 at 24 kHz is."""
    return audio_bytes / 2 / RATE


def trace(event: Any) -> None:
    """Notes an event for whoever must find out why a test failed."""
    fields = event if isinstance(event, dict) else event.model_dump(exclude_unset=True)
    shown = {
        name: f"{value[:40]}…" if name in ("audio", "delta") and len(value) > 40 else value
        for name, value in fields.items()
    }
    print(json.dumps(shown, default=str), file=sys.stderr)


def report(seen: dict[str, Any]) -> None:
    """Tells the test what the client saw."""
    print(json.dumps(seen), flush=True)
