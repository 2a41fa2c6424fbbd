"""A Realtime server that plays a scripted conversation, for tests of clients alone.

It keeps the protocol's contract: configuration, energy-based turn detection, push-to-talk,
text messages, cancelling, errors, the order of events in a turn, and, if the script says so, going
on with a session over another connection. It hears whatever it is told to hear, and its answer is
a ramp, so that a missing or repeated sample shows.
"""

import asyncio
import base64
import itertools
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from client import frames
from shared.audio import Int16
from shared.messages import MARKS

RATE = 24_000

Refusal = tuple[HTTPStatus, dict[str, str]]
"""An HTTP status and more headers."""


@dataclass
class Script:
    """What happens in every session."""

    hears: str = "what is the capital of france"
    words: tuple[str, ...] = ("It", " is", " Paris", ".")
    audio: Int16 = field(default_factory=lambda: np.arange(1, 2_401).astype(np.int16))
    marks: dict[str, int] = field(
        default_factory=lambda: {name: 1_000_000 + 100 * i for i, name in enumerate(MARKS)}
    )
    api_key: str | None = None
    answers: bool = True  # False: a server that never answers
    status: str = "completed"  # of its responses
    paused: bool = False  # after the first word, until the response is cancelled
    breaks_at: str | None = None  # the first connection is cut instead of sending this event
    mute_from: str | None = None  # the first connection gets no event from this one on
    resume_within_s: float | None = None  # None: a session ends with its connection
    refusals: deque[Refusal] = field(default_factory=deque)  # of those who come back, in turn
    full: deque[Refusal] = field(default_factory=deque)  # of new sessions, in turn
    sessions: "list[Session]" = field(default_factory=list)  # all there were


class Connection:
    """One connection of a session: what came over it, and how it can fail."""

    def __init__(self, socket: ServerConnection, after: str | None) -> None:
        self.socket = socket
        self.after = after
        self.received: list[dict[str, Any]] = []
        self.muted = False
        self.gone = False

    def cut(self) -> None:
        """Breaks the TCP connection; what was on its way is lost."""
        self.gone = True
        self.socket.transport.abort()

    def stall(self) -> None:
        """Takes nothing any more, and answers no ping."""
        self.muted = True
        self.socket.transport.pause_reading()


class Session:
    """One session's side of the conversation, over one connection or several."""

    def __init__(self, script: Script, *, timings: bool) -> None:
        self.id = f"sess_{secrets.token_hex(4)}"
        self.token = secrets.token_urlsafe(16)
        self.shown: list[dict[str, Any]] = []  # every event, whether it was sent or not
        self.connections: list[Connection] = []
        self.requests: list[dict[str, Any]] = []  # those carried out
        self.heard = np.empty(0, np.int16)  # since the session began
        self.over = False
        self._script = script
        self._shown_more = asyncio.Event()
        self._timings = timings
        self._ids = itertools.count()
        self._silence_ms: int | None = 500  # None: push-to-talk
        self._buffered = 0
        self._quiet = 0
        self._item: str | None = None
        self._response: asyncio.Task[None] | None = None

    async def serve(self, socket: ServerConnection, after: str | None) -> None:
        """Serves a connection until it is gone: the session's first, or one that goes on."""
        connection = Connection(socket, after)
        self.connections.append(connection)
        if after is None:
            await self._send("session.created", session=self._described())
        writing = asyncio.create_task(self._write(connection, after))
        try:
            async for message in socket:
                event = json.loads(message)
                connection.received.append(event)
                if not connection.gone and connection is self.connections[-1]:
                    await self._obey(event)
            self.end()  # the client closed it in good order
        except ConnectionClosed:
            if self._script.resume_within_s is None:
                self.end()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    def end(self) -> None:
        self.over = True
        if self._response is not None:
            self._response.cancel()

    def forget(self, requests: int, audio_ms: int) -> None:
        """Loses what it took from the client after these."""
        del self.requests[requests:]
        self.heard = self.heard[: audio_ms * RATE // 1000]

    def _described(self) -> dict[str, Any]:
        described = {"type": "realtime", "id": self.id}
        if (within_s := self._script.resume_within_s) is None:
            return described
        return {**described, "parley": {"resume": {"token": self.token, "within_s": within_s}}}

    async def _write(self, connection: Connection, after: str | None) -> None:
        """Sends what is shown, from the event after `after` on."""
        at = 0
        with suppress(ConnectionClosed):
            if after is not None:
                at = 1 + [event["event_id"] for event in self.shown].index(after)
                await connection.socket.send(json.dumps(self._resumed(after)))
            while True:
                self._shown_more.clear()
                for event in self.shown[at:]:
                    await self._show(connection, event)
                    at += 1
                await self._shown_more.wait()

    def _resumed(self, after: str) -> dict[str, Any]:
        audio_ms = len(self.heard) * 1000 // RATE
        self.heard = self.heard[: audio_ms * RATE // 1000]
        return {
            "type": "parley.session.resumed",
            "event_id": after,
            "session": {"type": "realtime", "id": self.id},
            "requests": len(self.requests),
            "audio_ms": audio_ms,
        }

    async def _show(self, connection: Connection, event: dict[str, Any]) -> None:
        if len(self.connections) == 1 and event["type"] == self._script.breaks_at:
            connection.cut()
        if len(self.connections) == 1 and event["type"] == self._script.mute_from:
            connection.muted = True
        if not connection.muted:
            await connection.socket.send(json.dumps(event))

    async def _obey(self, event: dict[str, Any]) -> None:
        if event["type"] != "input_audio_buffer.append":
            self.requests.append(event)
        handler = getattr(self, "on_" + event["type"].replace(".", "_"), None)
        if handler is None:
            await self._error(event, "invalid_value", "type", f"unknown event {event['type']!r}")
        else:
            await handler(event)

    async def on_session_update(self, event: dict[str, Any]) -> None:
        session = event["session"]
        detection = session.get("audio", {}).get("input", {}).get("turn_detection", {})
        if detection is None:
            self._silence_ms = None
        elif not isinstance(detection.get("silence_duration_ms", 500), int):
            field = "session.audio.input.turn_detection.silence_duration_ms"
            await self._error(event, "invalid_value", field, f"{field} must be an integer")
            return
        else:
            self._silence_ms = detection.get("silence_duration_ms", 500)
        await self._send("session.updated", session=session)

    async def on_input_audio_buffer_append(self, event: dict[str, Any]) -> None:
        samples = np.frombuffer(base64.b64decode(event["audio"]), "<i2")
        self.heard = np.concatenate([self.heard, samples])
        self._buffered += len(samples)
        for frame in frames(samples):
            if self._silence_ms is not None:
                await self._listen(frame, self._silence_ms)

    async def _listen(self, frame: Int16, silence_ms: int) -> None:
        if frame.any():
            self._quiet = 0
            if self._item is None:
                await self._start_turn()
        elif self._item is not None:
            self._quiet += len(frame)
            if self._quiet * 1000 >= silence_ms * RATE:
                await self._send(
                    "input_audio_buffer.speech_stopped",
                    item_id=self._item,
                    audio_end_ms=len(self.heard) * 1000 // RATE,
                )
                await self._commit(self._item)
                self._item = None
                if self._script.answers:
                    self._respond()

    async def on_input_audio_buffer_commit(self, event: dict[str, Any]) -> None:
        if self._buffered * 10 < RATE:
            code = "input_audio_buffer_commit_empty"
            await self._error(event, code, None, "the buffer has less than 100 ms of audio")
        else:
            await self._commit(self._id("item"))

    async def on_input_audio_buffer_clear(self, event: dict[str, Any]) -> None:
        self._buffered = 0
        await self._send("input_audio_buffer.cleared")

    async def on_conversation_item_create(self, event: dict[str, Any]) -> None:
        item = {"id": self._id("item"), "status": "completed", **event["item"]}
        await self._send("conversation.item.added", item=item, previous_item_id=None)
        await self._send("conversation.item.done", item=item, previous_item_id=None)

    async def on_response_create(self, event: dict[str, Any]) -> None:
        self._respond()

    async def on_response_cancel(self, event: dict[str, Any]) -> None:
        if self._response is None or self._response.done():
            code = "response_cancel_not_active"
            await self._error(event, code, None, "Cancellation failed: no active response found")
        else:
            self._response.cancel("client_cancelled")

    async def _start_turn(self) -> None:
        self._item = self._id("item")
        if self._response is not None and not self._response.done():
            self._response.cancel("turn_detected")
            await asyncio.wait([self._response])
        await self._send("input_audio_buffer.speech_started", item_id=self._item, audio_start_ms=0)

    async def _commit(self, item_id: str) -> None:
        self._buffered = 0
        await self._send("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        part: dict[str, Any] = {"type": "input_audio", "transcript": None}
        item = {"id": item_id, "type": "message", "role": "user", "content": [part]}
        await self._send("conversation.item.added", item=item, previous_item_id=None)
        await self._send("conversation.item.done", item=item, previous_item_id=None)
        heard = {"item_id": item_id, "content_index": 0}
        transcription = "conversation.item.input_audio_transcription"
        await self._send(f"{transcription}.delta", **heard, delta=self._script.hears)
        usage = {"type": "duration", "seconds": 1.0}
        text = self._script.hears
        await self._send(f"{transcription}.completed", **heard, transcript=text, usage=usage)

    def _respond(self) -> None:
        self._response = asyncio.create_task(self._answer(self._id("resp"), self._id("item")))

    async def _answer(self, response_id: str, item_id: str) -> None:
        at = {"response_id": response_id, "item_id": item_id}
        part = {**at, "output_index": 0, "content_index": 0}
        done: dict[str, Any] = {"id": response_id, "status": self._script.status}
        created = {"id": response_id, "status": "in_progress"}
        said = ""
        try:
            await self._send("response.created", response=created)
            for word, audio in zip(
                self._script.words,
                np.array_split(self._script.audio, len(self._script.words)),
                strict=True,
            ):
                await self._send("response.output_audio_transcript.delta", **part, delta=word)
                said += word
                delta = base64.b64encode(audio.astype("<i2").tobytes()).decode()
                await self._send("response.output_audio.delta", **part, delta=delta)
                if self._script.paused:
                    await asyncio.get_running_loop().create_future()
            await self._send("response.output_audio.done", **part)
            await self._send("response.output_audio_transcript.done", **part, transcript=said)
        except asyncio.CancelledError as reason:
            details = {"type": "cancelled", "reason": str(reason)}
            done |= {"status": "cancelled", "status_details": details}
        if done["status"] == "failed":
            message = "llm failed on every attempt"
            done["status_details"] = {"type": "failed", "error": {"message": message}}
        content = [{"type": "output_audio", "transcript": said}]
        item = {"id": item_id, "type": "message", "role": "assistant", "content": content}
        await self._send("response.done", response={**done, "output": [item]})
        if self._timings:
            await self._send("parley.timings", **at, marks=self._script.marks)

    async def _error(
        self, cause: dict[str, Any], code: str, param: str | None, message: str
    ) -> None:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "param": param,
            "message": message,
            "event_id": cause.get("event_id"),
        }
        await self._send("error", error=error)

    async def _send(self, kind: str, **fields: Any) -> None:
        self.shown.append({"type": kind, "event_id": self._id("event"), **fields})
        self._shown_more.set()

    def _id(self, kind: str) -> str:
        return f"{kind}_{next(self._ids)}"


def admitted(script: Script, socket: ServerConnection, request: Request) -> Response | None:
    """None, or the refusal of a client that should not be served."""
    wanted = f"Bearer {script.api_key}" if script.api_key else None
    if wanted and request.headers.get("Authorization") != wanted:
        return socket.respond(HTTPStatus.UNAUTHORIZED, "api key expected\n")
    if not request.path.startswith("/v1/realtime"):
        return socket.respond(HTTPStatus.NOT_FOUND, "no such endpoint\n")
    new = "after" not in parse_qs(urlsplit(request.path).query)
    if refusals := script.full if new else script.refusals:
        status, headers = refusals.popleft()
        refusal = socket.respond(status, "refused by the script\n")
        for name, value in headers.items():
            refusal.headers[name] = value
        return refusal
    if new:
        return None
    if (session := resumed(script, request)) is None:
        return socket.respond(HTTPStatus.FORBIDDEN, "the token is wrong\n")
    return socket.respond(HTTPStatus.NOT_FOUND, "it has ended\n") if session.over else None


def resumed(script: Script, request: Request) -> Session | None:
    """The session that a client has the token of."""
    offered = [name.strip() for name in request.headers["Sec-WebSocket-Protocol"].split(",")]
    named = {f"parley-resume.{session.id}.{session.token}": session for session in script.sessions}
    return next((named[name] for name in offered if name in named), None)


@asynccontextmanager
async def realtime_server(script: Script, port: int = 0) -> AsyncIterator[str]:
    """Serve `script` on loopback; yields the address."""

    async def converse(socket: ServerConnection) -> None:
        assert socket.request is not None
        query = parse_qs(urlsplit(socket.request.path).query)
        if "after" in query:
            session = resumed(script, socket.request)
            assert session is not None
            assert socket.subprotocol == "realtime"
            await session.serve(socket, query["after"][0])
        else:
            session = Session(script, timings=query.get("timings") == ["true"])
            script.sessions.append(session)
            await session.serve(socket, None)

    def admit(socket: ServerConnection, request: Request) -> Response | None:
        return admitted(script, socket, request)

    def select(socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return Subprotocol("realtime") if "realtime" in offered else None

    async with serve(
        converse,
        "127.0.0.1",
        port,
        process_request=admit,
        select_subprotocol=select,
        close_timeout=1,
    ) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
