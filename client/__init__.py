"""Python client of a Parley server: the OpenAI Realtime protocol over a WebSocket.

async with Parley("ws://127.0.0.1:8080") as session:
    await session.text("What is the capital of France?")
    await session.create_response()
    async for event in session.events():
        if isinstance(event, OutputAudioDelta):
            play(event.audio)

`client.sync` has the same for programs without an event loop, `client.events` what comes.
"""

from client.answers import Answer, Call
from client.errors import ParleyError, ServerError, Unavailable
from client.events import Event
from client.files import read_audio
from client.functions import tool
from client.microphone import SAMPLE_RATE, frames, paced, silence
from client.session import Parley

__all__ = [
    "SAMPLE_RATE",
    "Answer",
    "Call",
    "Event",
    "Parley",
    "ParleyError",
    "ServerError",
    "Unavailable",
    "frames",
    "paced",
    "read_audio",
    "silence",
    "tool",
]
