"""Python client of a Parley server: the OpenAI Realtime protocol over a WebSocket.

async with Parley("ws://127.0.0.1:8080") as session:
    await session.update(instructions="Answer briefly.")
    await session.text("What is the capital of France?")
    await session.create_response()
    async for event in session.events():
        if event.type == "response.output_audio.delta":
            play(event.audio)
"""

from client.events import Event, ParleyError, ServerError
from client.microphone import SAMPLE_RATE, frames, paced, silence
from client.session import Parley

__all__ = [
    "SAMPLE_RATE",
    "Event",
    "Parley",
    "ParleyError",
    "ServerError",
    "frames",
    "paced",
    "silence",
]
