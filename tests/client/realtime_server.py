"""A Realtime server that plays a scripted conversation, for tests of clients alone.

It keeps the protocol's contract: configuration, energy-based turn detection, push-to-talk,
text messages, cancelling, errors, and the order of events in a turn. It hears whatever it is
told to hear, and its answer is a ramp, so that a missing or repeated sample shows.
"""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import numpy as np
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from shared.audio import Int16
from shared.messages import MARKS

RATE = 24_000


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
    breaks_at: str | None = None  # drop the connection instead of sending this event


class Session:
    """One connection's side of the conversation."""

    def __init__(self, socket: ServerConnection, script: Script) -> None:
        self._socket = socket
        self._script = script
        self._ids = itertools.count()
        self._timings = "timings=true" in (socket.request.path if socket.request else "")
        self._silence_ms: int | None = 500  # None: push-to-talk
        self._buffered = 0
        self._quiet = 0
        self._item: str | None = None
        self._response: asyncio.Task[None] | None = None

    async def run(self) -> None:
        try:
            await self._converse()
        except ConnectionClosed:
            pass
        finally:
            if self._response is not None:
                self._response.cancel()

    async def _converse(self) -> None:
        await self._send("session.created", session={"type": "realtime"})
        async for message in self._socket:
            event = json.loads(message)
            handler = getattr(self, "on_" + event["type"].replace(".", "_"), None)
            if handler is None:
                await self._error(
                    event, "invalid_value", "type", f"unknown event {event['type']!r}"
                )
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
        self._buffered += len(samples)
        if self._silence_ms is None:
            return
        if samples.any():
            self._quiet = 0
            if self._item is None:
                await self._start_turn()
        elif self._item is not None:
            self._quiet += len(samples)
            if self._quiet * 1000 >= self._silence_ms * RATE:
                await self._send("input_audio_buffer.speech_stopped", item_id=self._item)
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
        async def answer() -> None:
            with suppress(ConnectionClosed):
                await self._answer(self._id("resp"), self._id("item"))

        self._response = asyncio.create_task(answer())

    async def _answer(self, response_id: str, item_id: str) -> None:
        at = {"response_id": response_id, "item_id": item_id}
        part = {**at, "output_index": 0, "content_index": 0}
        done: dict[str, Any] = {"id": response_id, "status": self._script.status}
        created = {"id": response_id, "status": "in_progress"}
        try:
            await self._send("response.created", response=created)
            for word, audio in zip(
                self._script.words,
                np.array_split(self._script.audio, len(self._script.words)),
                strict=True,
            ):
                await self._send("response.output_audio_transcript.delta", **part, delta=word)
                delta = base64.b64encode(audio.astype("<i2").tobytes()).decode()
                await self._send("response.output_audio.delta", **part, delta=delta)
                if self._script.paused:
                    await asyncio.get_running_loop().create_future()
            await self._send("response.output_audio.done", **part)
            text = "".join(self._script.words)
            await self._send("response.output_audio_transcript.done", **part, transcript=text)
        except asyncio.CancelledError as reason:
            details = {"type": "cancelled", "reason": str(reason)}
            done |= {"status": "cancelled", "status_details": details}
        if done["status"] == "failed":
            message = "llm failed on every attempt"
            done["status_details"] = {"type": "failed", "error": {"message": message}}
        await self._send("response.done", response=done)
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
        if kind == self._script.breaks_at:
            self._socket.transport.abort()
        await self._socket.send(json.dumps({"type": kind, "event_id": self._id("event"), **fields}))

    def _id(self, kind: str) -> str:
        return f"{kind}_{next(self._ids)}"


@asynccontextmanager
async def realtime_server(script: Script) -> AsyncIterator[str]:
    """Serve `script` on loopback; yields the address."""

    async def converse(socket: ServerConnection) -> None:
        await Session(socket, script).run()

    def admit(socket: ServerConnection, request: Request) -> Response | None:
        wanted = f"Bearer {script.api_key}" if script.api_key else None
        if wanted and request.headers.get("Authorization") != wanted:
            return socket.respond(HTTPStatus.UNAUTHORIZED, "api key expected\n")
        if not request.path.startswith("/v1/realtime"):
            return socket.respond(HTTPStatus.NOT_FOUND, "no such endpoint\n")
        return None

    async with serve(converse, "127.0.0.1", 0, process_request=admit) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}"
