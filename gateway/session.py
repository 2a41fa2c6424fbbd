"""One voice session as every client protocol sees it.

A protocol pushes audio and commands in and shows the events that come out. What the broker holds
is the session; this object is only the gateway's end of it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from gateway.answer import Answer, Status
from gateway.playout import PlayoutError
from shared.audio import AudioError, Int16
from shared.broker import Pipe
from shared.ids import new_id, now_ms
from shared.keys import SessionKeys
from shared.lanes import LaneWriter
from shared.messages import (
    AudioChunk,
    Command,
    Detached,
    Frame,
    Interrupted,
    Item,
    LlmJob,
    OutMessage,
    ResponseCreated,
    ResponseFailed,
    SessionConfig,
    TextDelta,
    TextDone,
)
from shared.scripts import sessions as scripts
from shared.scripts.jobs import NewResponse

# Audio that the broker has not taken yet, over all sessions: about half an hour of one voice.
_MOST_WAITING_BYTES = 64 * 2**20

_NOTHING = np.empty(0, np.int16)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AudioOut:
    """Audio to play now: int16 at the session's output rate."""

    answer: Answer
    samples: Int16


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """A response is over; `text` is what the client got of it."""

    answer: Answer
    status: Status
    text: str
    reason: str = ""


ClientEvent = OutMessage | AudioOut | ResponseEnded
Reply = TypeVar("Reply", bound=str)


class SessionEnded(Exception):
    """The session is over: it expired, or another gateway serves it."""


def _still_there(status: Reply) -> Reply:
    if status == "gone":
        raise SessionEnded("the session has expired")
    return status


class Session:
    """The gateway's end of one session.

    `lead_s` is how far ahead of the client's playing audio is sent; None leaves the pace to the
    client, whose protocol then calls `pull`.
    """

    def __init__(
        self,
        keys: SessionKeys,
        config: SessionConfig,
        *,
        pipe: Pipe,
        lanes: LaneWriter,
        messages: asyncio.Queue[OutMessage],
        lead_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = keys
        self.config = config
        self._pipe = pipe
        self._lanes = lanes
        self._messages = messages
        self._lead_s = lead_s
        self._clock = clock
        self._at = 0
        self._answer: Answer | None = None
        self._last_answer: Answer | None = None

    # --- in ---

    def push(self, samples: Int16) -> None:
        """Takes 16 kHz audio from the microphone.

        While the broker is away audio is kept, up to a bound shared by all sessions; beyond it
        frames are dropped, which the VAD worker hears as silence.
        """
        frame = Frame(self.keys.session_id, self._at, samples.tobytes(), now_ms())
        self._at += len(samples)
        if self._lanes.waiting_bytes < _MOST_WAITING_BYTES:
            self._lanes.append(frame)

    def command(
        self,
        action: Literal["open", "configure", "commit", "clear", "close"],
        reference: str | None = None,
    ) -> None:
        """A step that keeps its place among the frames; a refused commit names `reference`."""
        self._lanes.append(
            Command(
                self.keys.session_id,
                self._at,
                action,
                self.config.turn_detection,
                self.config.language,
                self.config.transcription_prompt,
                reference,
            )
        )

    async def configure(self, config: SessionConfig) -> None:
        """Replaces the configuration, from here on in the audio."""
        self.config = config
        _still_there(await scripts.configure(self._pipe, self.keys, config))
        self.command("configure")

    async def add_item(self, item: Item) -> None:
        """Adds an item at the end of the conversation; starts nothing."""
        _still_there(await scripts.put_item(self._pipe, self.keys, item))

    async def respond(
        self,
        *,
        instructions: str | None = None,
        modality: Literal["audio", "text"] | None = None,
        max_output_tokens: int | None = None,
    ) -> bool:
        """Begins a response; False if one is active."""
        response_id, item_id = new_id("resp"), new_id("item")
        modality = modality or self.config.modality
        response = NewResponse(
            response_id,
            Item(item_id=item_id, role="assistant", status="in_progress", modality=modality),
            ResponseCreated(
                response_id=response_id,
                item_id=item_id,
                modality=modality,
                output_rate=self.config.output_rate,
            ),
            LlmJob(
                session_id=self.keys.session_id,
                response_id=response_id,
                item_id=item_id,
                instructions=instructions,
                modality=modality,
                max_output_tokens=max_output_tokens,
                output_rate=self.config.output_rate,
            ),
        )
        status = await scripts.create_response(self._pipe, self.keys, response)
        return _still_there(status) == "ok"

    async def cancel(self, response_id: str | None = None) -> bool:
        """Cancels the active response; False if there is none, or it is not the one named."""
        meant = response_id or ""
        status = await scripts.interrupt(self._pipe, self.keys, response_id=meant)
        return _still_there(status) == "ok"

    def spoken(self, item_id: str) -> Answer | None:
        """The answer whose item this is: the one being played, or the last."""
        for answer in (self._answer, self._last_answer):
            if answer is not None and answer.item_id == item_id and answer.modality == "audio":
                return answer
        return None

    async def truncate(self, answer: Answer, audio_end_ms: int) -> None:
        """Cuts a spoken answer to what the client says it played."""
        answer.cut_at_ms = audio_end_ms
        if answer is self._last_answer:
            await self.add_item(answer.item("incomplete", answer.whole()))

    async def close(self) -> None:
        """Ends the session and removes what the broker holds of it."""
        self.command("close")
        active, _ = await asyncio.gather(
            self._pipe.command("HGET", self.keys.state, "response"),
            scripts.forget(self._pipe, self.keys),
        )
        if active:
            await self._pipe.command("DEL", self.keys.response(active.decode()))

    # --- out ---

    async def events(self) -> AsyncIterator[ClientEvent]:
        """What the client must be shown, in order, and its audio when it is due.

        Raises:
            SessionEnded: another gateway serves the session now.
        """
        while True:
            message = await self._next()
            if isinstance(message, Detached):
                raise SessionEnded("the session is served elsewhere")
            if message is not None:
                for event in await self._take_in(message):
                    yield event
            for audio in self._due():
                yield audio
            if (ended := await self.conclude()) is not None:
                yield ended

    def pull(self, samples: int) -> Int16:
        """The next `samples` of the answer, for a client that sets the pace: fewer only at the
        answer's end, none while they are not there yet."""
        if self._answer is None:
            return _NOTHING
        pulled = self._answer.playout.pull(samples)
        if len(pulled):
            self._answer.marks.setdefault("audio_out", now_ms())
        return pulled

    async def conclude(self) -> ResponseEnded | None:
        """Ends the answer once all of it has gone out."""
        answer = self._answer
        if answer is None or answer.done is None or not answer.finished:
            return None
        status: Status = "completed" if answer.done.finish == "stop" else "incomplete"
        return await self._end(answer, status, answer.whole())

    async def _next(self) -> OutMessage | None:
        """The next message, or None when audio is due first."""
        due_s = None
        if self._lead_s is not None and self._answer is not None:
            now_s = self._clock()
            due_at_s = self._answer.playout.next_at(now_s)
            due_s = None if due_at_s is None else max(due_at_s - now_s, 0)
        try:
            async with asyncio.timeout(due_s):
                return await self._messages.get()
        except TimeoutError:
            return None

    def _due(self) -> list[AudioOut]:
        answer = self._answer
        if answer is None or self._lead_s is None:
            return []
        pieces = answer.playout.take(self._clock())
        if pieces:
            answer.marks.setdefault("audio_out", now_ms())
        return [AudioOut(answer, piece.samples) for piece in pieces]

    async def _take_in(self, message: OutMessage) -> list[ClientEvent]:
        """Follows the answer; whatever belongs to one that is over is dropped."""
        answer = self._answer
        if isinstance(message, ResponseCreated):
            self._answer = Answer.begun(message, self._lead_s or 0.0)
            return [message]
        if isinstance(message, Interrupted):
            if answer is None:
                return []
            heard = answer.heard(self._clock())
            return [await self._end(answer, "cancelled", heard, message.reason)]
        if not isinstance(message, TextDelta | TextDone | AudioChunk | ResponseFailed):
            return [message]
        if answer is None or answer.response_id != message.response_id:
            return []
        if isinstance(message, ResponseFailed):
            return [await self._fail(answer, message.message)]
        try:
            answer.add(message)
        except (PlayoutError, AudioError) as error:
            return [await self._fail(answer, f"audio was lost: {error}")]
        return [message]

    async def _fail(self, answer: Answer, problem: str) -> ResponseEnded:
        log.error("response %s failed: %s", answer.response_id, problem)
        await scripts.interrupt(self._pipe, self.keys, response_id=answer.response_id)
        return await self._end(answer, "failed", answer.heard(self._clock()), problem)

    async def _end(
        self, answer: Answer, status: Status, text: str, reason: str = ""
    ) -> ResponseEnded:
        self._answer, self._last_answer = None, answer
        item = answer.item(status, text)
        await scripts.end_response(self._pipe, self.keys, answer.response_id, item)
        return ResponseEnded(answer, status, text, reason)
