"""The two protocols: how a caller greets a server, and what its messages mean."""

import asyncio
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection

from bench.load.dialogue import Dialogue
from bench.load.hearing import Hearing
from bench.load.question import Question, original, realtime
from bench.load.scenario import Scenario

_GREETED_S = 20.0


class Refused(Exception):
    """The server lets no more sessions in; the message is its own."""


class Language(Protocol):
    """What a caller needs to know of a protocol."""

    async def greet(self, socket: ClientConnection) -> None:
        """Does what comes before the first audio; raises Refused."""

    def fresh(self, session: int, number: int) -> Hearing:
        """Follows the answer to one question."""

    def frame(self, question: Question, frame: int | None) -> str | bytes:
        """The message that carries a frame of the question; None is silence."""

    def take(self, message: str | bytes, dialogue: Dialogue, now_s: float) -> None:
        """Takes in a message of the server's."""


class Event(msgspec.Struct):
    """What matters of an event of OpenAI's protocol, by its name of today or of the beta."""

    type: str
    delta: str = ""
    response_id: str = ""
    response: dict[str, object] = {}
    error: dict[str, object] = {}
    marks: dict[str, int] = {}

    @property
    def of(self) -> str:
        """The response that it belongs to or describes."""
        return self.response_id or str(self.response.get("id", ""))


class Realtime:
    """OpenAI's: JSON events, PCM16 at 24 kHz in base64."""

    RATE = 24_000

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._events = msgspec.json.Decoder(Event)

    async def greet(self, socket: ClientConnection) -> None:
        pcm = {"type": "audio/pcm", "rate": self.RATE}
        detection = {"type": "server_vad", "silence_duration_ms": self._scenario.silence_ms}
        heard = {
            "format": pcm,
            "transcription": {"model": "whisper-1"},
            "turn_detection": detection,
        }
        session = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {"input": heard, "output": {"format": pcm}},
        }
        update = {"type": "session.update", "session": session}
        await socket.send(msgspec.json.encode(update).decode())
        async with asyncio.timeout(_GREETED_S):
            async for message in socket:
                event = self._events.decode(message)
                if event.type == "session.updated":
                    return
                if event.type == "error":
                    raise Refused(str(event.error.get("message", "")))
        raise Refused("the server ended the session at once")

    def fresh(self, session: int, number: int) -> Hearing:
        return Hearing(session, number, self.RATE, marks=True)

    def frame(self, question: Question, frame: int | None) -> str | bytes:
        return question.silence if frame is None else question.speech[frame]

    def take(self, message: str | bytes, dialogue: Dialogue, now_s: float) -> None:
        event = self._events.decode(message)
        if event.type == "error":
            dialogue.fail(f"error: {event.error.get('message', '')}")
            return
        for hearing in dialogue.hearings:
            _take(event, hearing, now_s)


def _take(event: Event, hearing: Hearing, now_s: float) -> None:
    match event.type:
        case "input_audio_buffer.speech_started":
            hearing.stopped(now_s)
        case "conversation.item.input_audio_transcription.completed":
            hearing.transcript(now_s)
        case "response.created" if hearing.listening:
            hearing.responses.add(event.of)
    if event.of in hearing.responses:
        _answer(event, hearing, now_s)


def _answer(event: Event, hearing: Hearing, now_s: float) -> None:
    match event.type.removeprefix("response.").replace("output_", ""):
        case "audio.delta":
            hearing.audio(_samples(event.delta), now_s)
        case "audio_transcript.delta" | "text.delta":
            hearing.text(now_s)
        case "parley.timings":
            hearing.turn.marks = event.marks
        case "done":
            status = event.response.get("status")
            if status == "cancelled":
                hearing.cancelled(event.of, now_s)
                return
            if status == "failed":
                hearing.give_up(f"the response failed: {event.response.get('status_details')}")
            hearing.done(now_s)


def _samples(data: str) -> int:
    """How many PCM16 samples a piece of base64 holds."""
    return (len(data) * 3 // 4 - data[-2:].count("=")) // 2


class Original:
    """That of the original deployment: PCM16 at 16 kHz in binary frames, one answered by one."""

    RATE = 16_000
    DONE = b"DONE"

    def __init__(self) -> None:
        self._answering = False

    async def greet(self, socket: ClientConnection) -> None:
        """There is nothing to say."""

    def fresh(self, session: int, number: int) -> Hearing:
        return Hearing(session, number, self.RATE, marks=False)

    def frame(self, question: Question, frame: int | None) -> str | bytes:
        # While an answer comes, its client sends nothing of what it hears.
        if self._answering:
            return b""
        return question.silence if frame is None else question.speech[frame]

    def take(self, message: str | bytes, dialogue: Dialogue, now_s: float) -> None:
        self._answering = message != self.DONE
        for hearing in dialogue.hearings:
            if hearing.listening and self._answering:
                hearing.audio(len(message) // 2, now_s)
            elif hearing.listening:
                hearing.done(now_s)


def language_of(scenario: Scenario) -> Language:
    """The scenario's protocol, for one session."""
    return Realtime(scenario) if scenario.protocol == "realtime" else Original()


def question_of(scenario: Scenario, path: Path) -> Question:
    """The recording in the scenario's protocol. Raises AudioError or OSError."""
    return realtime(path) if scenario.protocol == "realtime" else original(path)


def address(url: str, scenario: Scenario) -> str:
    """Where the scenario's protocol is served, given a server's address."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scenario.protocol == "original":
        path = parts.path if parts.path.endswith("/ws") else f"{parts.path.rstrip('/')}/ws"
        return urlunsplit((scheme, parts.netloc, path, parts.query, ""))
    path = parts.path if parts.path.strip("/") else "/v1/realtime"
    query = "&".join(filter(None, (parts.query, "timings=true")))
    return urlunsplit((scheme, parts.netloc, path, query, ""))
