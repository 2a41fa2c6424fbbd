"""One voice session as every client protocol sees it.

A protocol pushes audio and commands in and shows the events that come out. What the broker holds
is the session; this object is only the gateway's end of it, and another may go on in its place.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal

import numpy as np

from gateway.answer import Answer, Status
from gateway.follower import Inbox
from gateway.happenings import AudioOut, ClientEvent, ResponseEnded, TakenOver, still_ours
from gateway.playout import PlayoutError
from gateway.restore import Restored
from shared.audio import AudioError, Int16
from shared.broker import Pipe
from shared.ids import new_id, now_ms
from shared.lanes import LaneWriter
from shared.messages import (
    AudioChunk,
    Command,
    Detached,
    Frame,
    Interrupted,
    Item,
    ItemAdded,
    LlmJob,
    OutMessage,
    ResponseCreated,
    ResponseFailed,
    SessionConfig,
    TextDelta,
    TextDone,
    Truncated,
    decode,
)
from shared.scripts import sessions as scripts
from shared.scripts.jobs import NewResponse
from shared.scripts.sessions import Attachment

# Audio that the broker has not taken yet, over all sessions: about half an hour of one voice.
_MOST_WAITING_BYTES = 64 * 2**20

_NOTHING = np.empty(0, np.int16)

log = logging.getLogger(__name__)


class Session:
    """The gateway's end of one session.

    `lead_s` is how far ahead of the client's playing audio is sent; None leaves the pace to the
    client, whose protocol then calls `pull`. `restored` is where a session that was resumed goes
    on. The `request` that methods take is the number of the client's request: one that was
    carried out before does nothing.
    """

    def __init__(
        self,
        hold: Attachment,
        config: SessionConfig,
        *,
        pipe: Pipe,
        lanes: LaneWriter,
        inbox: Inbox,
        lead_s: float | None,
        restored: Restored | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = hold.keys
        self.config = config
        self.hold = hold
        self.inbox = inbox
        self.entry = inbox.read
        self._pipe = pipe
        self._lanes = lanes
        self._lead_s = lead_s
        self._clock = clock
        self._at = 0
        self.fresh = restored is None
        self._restored = restored
        self._attached = restored is None
        self._answer = restored.answer if restored else None
        self._last_answer: Answer | None = None
        self._postponed: tuple[str, OutMessage] | None = None

    @property
    def created(self) -> ResponseCreated | None:
        """The beginning of the response that a resumed session has at hand."""
        return self._restored.created if self._restored and self._answer else None

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

    def seek(self, at: int) -> None:
        """The audio pushed next belongs at sample `at` of the session."""
        self._at = at

    def open(self) -> None:
        """Begins a new session."""
        self._append("open")

    async def command(
        self,
        action: Literal["configure", "commit", "clear", "close"],
        reference: str | None = None,
        *,
        request: int = 0,
    ) -> None:
        """A step that keeps its place among the frames; a refused commit names `reference`.

        Returns when the broker has it.
        """
        self._append(action, reference, request)
        await self._lanes.written(self.keys.session_id)

    def _append(
        self,
        action: Literal["open", "configure", "commit", "clear", "close"],
        reference: str | None = None,
        request: int = 0,
    ) -> None:
        self._lanes.append(
            Command(
                self.keys.session_id,
                self._at,
                action,
                self.config.turn_detection,
                self.config.language,
                self.config.transcription_prompt,
                reference,
                request,
            )
        )

    async def configure(self, config: SessionConfig, *, request: int = 0) -> None:
        """Replaces the configuration, from here on in the audio."""
        self.config = config
        # first the lane, so that a request whose script has run is in it
        await self.command("configure", request=request)
        still_ours(await scripts.configure(self._pipe, self.hold, config, request=request))

    async def add_item(self, item: Item, *, request: int = 0) -> None:
        """Adds an item at the end of the conversation; starts nothing."""
        shown = ItemAdded(item=item)
        still_ours(await scripts.put_item(self._pipe, self.hold, item, shown, request=request))

    async def respond(
        self,
        *,
        instructions: str | None = None,
        modality: Literal["audio", "text"] | None = None,
        max_output_tokens: int | None = None,
        request: int = 0,
    ) -> bool:
        """Begins a response; False if one is active."""
        response_id, item_id = new_id("resp"), new_id("item")
        modality = modality or self.config.modality
        response = NewResponse(
            response_id,
            Item.of(item_id=item_id, role="assistant", status="in_progress", modality=modality),
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
        status = await scripts.create_response(self._pipe, self.hold, response, request=request)
        return still_ours(status) == "ok"

    async def cancel(self, response_id: str | None = None, *, request: int = 0) -> bool:
        """Cancels the active response; False if there is none, or it is not the one named."""
        status = await scripts.interrupt(
            self._pipe, self.hold, response_id=response_id or "", request=request
        )
        return still_ours(status) == "ok"

    def spoken(self, item_id: str) -> Answer | None:
        """The answer whose item this is: the one being played, or the last."""
        for answer in (self._answer, self._last_answer):
            if answer is not None and answer.item_id == item_id and answer.modality == "audio":
                return answer
        return None

    async def truncate(self, answer: Answer, audio_end_ms: int, *, request: int = 0) -> None:
        """Cuts a spoken answer to what the client says it played."""
        answer.cut_at_ms = audio_end_ms
        item = answer.item("incomplete", answer.whole())
        shown = Truncated(item_id=item.item_id, audio_end_ms=audio_end_ms)
        still_ours(await scripts.put_item(self._pipe, self.hold, item, shown, request=request))

    async def close(self) -> None:
        """Ends the session and removes what the broker holds of it, unless another connection
        goes on with it."""
        if await scripts.close(self._pipe, self.hold) != "detached":
            await self.command("close")

    # --- out ---

    async def events(self) -> AsyncIterator[ClientEvent]:
        """What the client must be shown, in order, and its audio when it is due.

        Raises:
            SessionEnded: another connection goes on with the session.
        """
        while True:
            received = await self._next()
            if received is not None:
                for event in await self._take_in(*received):
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
        if answer is None or not answer.finished:
            return None
        return await self._end(answer, answer.natural_end, answer.whole())

    async def left_over(self) -> list[ClientEvent]:
        """Of a session that was resumed, what the client may have been shown in part before."""
        restored, self._restored = self._restored, None
        if restored is None:
            return []
        shown: list[ClientEvent] = []
        answer, ending = restored.answer, restored.ending
        if answer is not None and ending is not None:
            cut = ending.status == "cancelled"
            text = answer.heard(self._clock()) if cut else answer.whole()
            shown.append(await self._end(answer, ending.status, text, ending.reason))
        if restored.last is not None:
            shown.append(restored.last)
        return shown

    async def _next(self) -> tuple[str, OutMessage] | None:
        """The next message with its entry, or None when audio is due first."""
        due_s = self._due_in_s()
        if self._postponed is None:
            try:
                async with asyncio.timeout(due_s):
                    return await self.inbox.get()
            except TimeoutError:
                return None
        if self._answer is not None and due_s is not None:
            await asyncio.sleep(due_s)
            return None
        postponed, self._postponed = self._postponed, None
        return postponed

    def _due_in_s(self) -> float | None:
        """How long until audio is due; None if none is."""
        if self._lead_s is None or self._answer is None:
            return None
        now_s = self._clock()
        due_at_s = self._answer.playout.next_at(now_s)
        return None if due_at_s is None else max(due_at_s - now_s, 0)

    def _due(self) -> list[AudioOut]:
        answer = self._answer
        if answer is None or self._lead_s is None:
            return []
        sent = answer.playout.sent_samples
        pieces = answer.playout.take(self._clock())
        if pieces:
            answer.marks.setdefault("audio_out", now_ms())
        audio = []
        for piece in pieces:
            sent += len(piece.samples)
            audio.append(AudioOut(answer, piece.samples, sent))
        return audio

    async def _take_in(self, entry: str, message: OutMessage) -> list[ClientEvent]:
        """Follows the answer; whatever belongs to one that is over is dropped."""
        if isinstance(message, ResponseCreated) and self._due_in_s() is not None:
            # the session went on while its client was away: first the rest of what it missed
            self._postponed = (entry, message)
            return []
        self.entry = entry
        match message:
            case Detached():
                self._check_attachment(message)
                return []
            case ResponseCreated():
                return await self._begin(message)
            case Interrupted():
                return await self._cut(message)
            case TextDelta() | TextDone() | AudioChunk() | ResponseFailed():
                return await self._go_on(message)
            case _:
                return [message]

    def _check_attachment(self, message: Detached) -> None:
        if message.attachment == self.hold.attachment_id:
            self._attached = True
        elif self._attached or not message.attachment:
            raise TakenOver("another connection has taken the session over")

    async def _begin(self, created: ResponseCreated) -> list[ClientEvent]:
        before = self._answer
        if before is not None and before.response_id == created.response_id:
            return []  # a broker that fell back by a moment has its work done again
        ended: list[ClientEvent] = []
        if before is not None:
            ended = [await self._fail(before, "the rest of it was lost")]
        self._answer = Answer.begun(created, self._lead_s or 0.0)
        return [*ended, created]

    async def _go_on(
        self, message: TextDelta | TextDone | AudioChunk | ResponseFailed
    ) -> list[ClientEvent]:
        answer = self._answer
        if answer is None or answer.response_id != message.response_id:
            return []
        if isinstance(message, ResponseFailed):
            return [await self._fail(answer, message.message)]
        try:
            fresh = answer.add(message)
        except (PlayoutError, AudioError) as error:
            return [await self._fail(answer, f"a part of it was lost: {error}")]
        if isinstance(message, TextDelta):
            return [] if fresh is None else [fresh]
        return [message]

    async def _cut(self, message: Interrupted) -> list[ClientEvent]:
        answer = self._answer
        if answer is None:
            return []
        heard = answer.heard(self._clock())
        return [await self._end(answer, "cancelled", heard, message.reason)]

    async def _fail(self, answer: Answer, problem: str) -> ResponseEnded:
        log.error("response %s failed: %s", answer.response_id, problem)
        await scripts.interrupt(self._pipe, self.hold, response_id=answer.response_id)
        return await self._end(answer, "failed", answer.heard(self._clock()), problem)

    async def _end(
        self, answer: Answer, status: Status, text: str, reason: str = ""
    ) -> ResponseEnded:
        item = answer.item(status, text)
        still_ours(
            await scripts.end_response(self._pipe, self.hold, answer.response_id, item, self.entry)
        )
        if not self.fresh:
            # the gateway before may have ended it, by its own clock, and not have said so
            saved = await self._pipe.command("HGET", self.keys.items, item.item_id)
            text = text if saved is None else decode(saved, Item).text or ""
        self._answer, self._last_answer = None, answer
        return ResponseEnded(answer, status, text, reason)
