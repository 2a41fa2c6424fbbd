"""One voice session as every client protocol sees it.

A protocol pushes audio and requests in and shows the events that come out. What the broker holds
is the session; this object is only the gateway's end of it, and another may go on in its place.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import numpy as np

from gateway.answer import Answer, Status
from gateway.asides import Asides
from gateway.conversation import Conversation, ItemError
from gateway.follower import Inbox
from gateway.foretelling import foretell
from gateway.happenings import (
    AudioOut,
    ClientEvent,
    ResponseEnded,
    SessionEnded,
    TakenOver,
    still_ours,
)
from gateway.idle import Idle
from gateway.playout import PlayoutError
from gateway.restore import Restored
from gateway.tracing import Traced
from gateway.voice import Voice
from gateway.wanted import Wanted
from shared.audio import SAMPLE_RATE, AudioError, Int16
from shared.broker import Pipe
from shared.ids import now_ms
from shared.lanes import LaneWriter
from shared.logs import concerning
from shared.messages import (
    AudioChunk,
    Closed,
    Committed,
    Detached,
    Interrupted,
    Item,
    OutMessage,
    OutputCleared,
    ResponseCreated,
    ResponseFailed,
    SessionConfig,
    SpeechStarted,
    TextDelta,
    TextDone,
    decode,
)
from shared.metrics.audio import AUDIO, FRAMES
from shared.metrics.gateway import EPOCHS_CANCELLED, INTERRUPTIONS, observe_answer, observe_turn
from shared.scripts import sessions as scripts
from shared.scripts.sessions import Attachment

_NOTHING = np.empty(0, np.int16)
_USUAL = Wanted()
_AUDIO, _FRAMES = AUDIO.labels("out"), FRAMES.labels("out")

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
        self.voice = Voice(hold.keys.session_id, lanes, config)
        self.conversation = Conversation(pipe, hold)
        self._pipe = pipe
        self._lead_s = lead_s
        self._clock = clock
        self.fresh = restored is None
        self._restored = restored
        self._attached = restored is None
        self._answer = restored.answer if restored else None
        self._asides = restored.asides if restored else Asides()
        self._last_answer: Answer | None = None
        self._postponed: tuple[str, OutMessage] | None = None
        self._idle = Idle()
        self._traced = Traced(hold.keys.session_id)

    # --- in ---

    def open(self) -> None:
        """Begins a new session."""
        self.voice.append("open")

    async def configure(self, config: SessionConfig, *, request: int = 0) -> None:
        """Replaces the configuration, from here on in the audio."""
        self.config = self.voice.config = config
        # first the lane, so that a request whose script has run is in it
        await self.voice.command("configure", request=request)
        still_ours(await scripts.configure(self._pipe, self.hold, config, request=request))
        await foretell(self._pipe, self.keys, config)

    async def respond(self, wanted: Wanted = _USUAL, *, request: int = 0) -> bool:
        """Begins a response; False if one is active, or too many are aside."""
        trace = self._traced.ask(aside=wanted.aside)
        response = wanted.response(self.keys.session_id, self.config, trace)
        status = await scripts.create_response(self._pipe, self.hold, response, request=request)
        begun = still_ours(status) == "ok"
        if begun:
            self._traced.asked(trace, response.response_id)
        return begun

    async def cancel(self, response_id: str | None = None, *, request: int = 0) -> bool:
        """Cancels the conversation's active response, or the one that is named; False if there
        is none, or another is."""
        return await self._interrupt(response_id or "", request=request)

    async def clear_output(self, *, request: int = 0) -> None:
        """Throws away what is still to be heard of the answer being given, or was of the last."""
        answer = self._answer or self._last_answer
        if answer is None:
            return
        cleared = OutputCleared(response_id=answer.response_id)
        if not await self._interrupt(answer.response_id, cleared, request=request):
            still_ours(await scripts.tell(self._pipe, self.hold, cleared, request=request))

    async def _interrupt(self, response_id: str, *then: OutMessage, request: int = 0) -> bool:
        status = await scripts.interrupt(
            self._pipe, self.hold, response_id=response_id, then=then, request=request
        )
        return still_ours(status) == "ok"

    def spoken(self, item_id: str) -> Answer | None:
        """The answer whose item this is: the one being played, or the last."""
        for answer in (self._answer, self._last_answer):
            if answer is not None and answer.item_id == item_id and answer.modality == "audio":
                return answer
        return None

    async def truncate(self, answer: Answer, audio_end_ms: int, *, request: int = 0) -> None:
        """Cuts a spoken answer to what the client says it played; ItemError if it is gone."""
        before, answer.cut_at_ms = answer.cut_at_ms, audio_end_ms
        cut = answer.item("incomplete", answer.whole())
        try:
            await self.conversation.replace(cut, audio_end_ms, request=request)
        except ItemError:
            answer.cut_at_ms = before
            raise

    async def detach(self) -> None:
        """Lets go of the session, which waits for its client."""
        await scripts.detach(self._pipe, self.hold)

    async def close(self) -> None:
        """Ends the session and removes what the broker holds of it, unless another connection
        goes on with it."""
        if await scripts.close(self._pipe, self.hold) != "detached":
            await self.voice.command("close")

    # --- out ---

    @property
    def created(self) -> list[ResponseCreated]:
        """The beginnings of the responses that a resumed session has at hand."""
        restored = self._restored
        if restored is None:
            return []
        main = [restored.created] if restored.created and self._answer else []
        return [*main, *restored.begun.values()]

    def has_words(self, response_id: str) -> bool:
        """Whether anything was said yet in a response at hand."""
        answer = self._asides.get(response_id, self._answer)
        return bool(answer and answer.texts)

    async def events(self) -> AsyncIterator[ClientEvent]:
        """What the client must be shown, in order, and its audio when it is due.

        Raises:
            SessionEnded: it was ended, or another connection goes on with it.
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
            self._time_out()

    def pull(self, samples: int) -> Int16:
        """The next `samples` of the answer, for a client that sets the pace: fewer only at the
        answer's end, none while they are not there yet."""
        if self._answer is None:
            return _NOTHING
        pulled = self._answer.playout.pull(samples)
        if len(pulled):
            self._went_out(self._answer, len(pulled))
        return pulled

    async def conclude(self) -> ResponseEnded | None:
        """Ends the answer once all of it has gone out."""
        answer = self._answer
        if answer is None or not answer.finished:
            return None
        now_s = self._clock()
        self._idle.begin(now_s + answer.unheard_s(now_s))
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
            aside = await self._take_aside(restored.last)
            shown += [restored.last] if aside is None else aside
        return shown

    async def _next(self) -> tuple[str, OutMessage] | None:
        """The next message with its entry, or None when something is due first."""
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
        """How long until audio is due, or the user's silence is too long; None if neither is."""
        answer, due_at_s = self._answer, self._idle.due_at_s(self._patience_ms)
        if answer is not None and self._lead_s is not None:
            due_at_s = answer.playout.next_at(self._clock())
        return None if due_at_s is None else max(due_at_s - self._clock(), 0)

    @property
    def _patience_ms(self) -> int | None:
        detection = self.config.turn_detection
        return detection.idle_timeout_ms if detection else None

    def _time_out(self) -> None:
        patience_ms = self._patience_ms
        if patience_ms is not None and self._idle.take(self._clock(), patience_ms):
            since = self.voice.at - patience_ms * SAMPLE_RATE // 1000
            self.voice.append("timeout", since=max(since, 0))

    def _due(self) -> list[AudioOut]:
        answer = self._answer
        if answer is None or self._lead_s is None:
            return []
        audio = answer.due(self._clock())
        if audio:
            self._went_out(answer, sum(len(samples) for samples, _ in audio))
        return [AudioOut(answer, samples, sent) for samples, sent in audio]

    def _went_out(self, answer: Answer, samples: int) -> None:
        _FRAMES.inc()
        _AUDIO.inc(samples / answer.sample_rate)
        if "audio_out" not in answer.marks:
            answer.marks["audio_out"] = now_ms()
            if answer.playout.sent_samples == samples:  # else it began at another gateway
                observe_turn(answer.marks)

    async def _take_in(self, entry: str, message: OutMessage) -> list[ClientEvent]:
        """Follows the answers; whatever belongs to one that is over is dropped."""
        begins = isinstance(message, ResponseCreated) and not message.aside
        if begins and self._answer is not None and self._due_in_s() is not None:
            # the session went on while its client was away: first the rest of what it missed
            self._postponed = (entry, message)
            return []
        self.entry = entry
        self._traced.follow(message)
        aside = await self._take_aside(message)
        if aside is not None:
            return aside
        match message:
            case Detached():
                self._check_attachment(message)
                return []
            case Closed():
                raise SessionEnded(message.reason)
            case ResponseCreated():
                return await self._begin(message)
            case Interrupted():
                return await self._cut(message)
            case TextDelta() | TextDone() | AudioChunk() | ResponseFailed():
                return await self._go_on(message)
            case SpeechStarted() | Committed():
                self._idle.end()
        return [message]

    async def _take_aside(self, message: OutMessage) -> list[ClientEvent] | None:
        """What comes of a message for a response aside; None if it is for none."""
        events = self._asides.take(message)
        for event in events or []:
            if isinstance(event, ResponseEnded):
                await self._settle(event)
        return events

    def _check_attachment(self, message: Detached) -> None:
        if message.attachment == self.hold.attachment_id:
            self._attached = True
        elif self._attached or not message.attachment:
            raise TakenOver("another connection has taken the session over")

    async def _begin(self, created: ResponseCreated) -> list[ClientEvent]:
        self._idle.end()
        before = self._answer
        if before is not None and before.response_id == created.response_id:
            return []  # a broker that fell back by a moment has its work done again
        ended = [await self._fail(before, "the rest of it was lost")] if before else []
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
        return [] if fresh is None else [fresh]

    async def _cut(self, message: Interrupted) -> list[ClientEvent]:
        EPOCHS_CANCELLED.inc()
        answer = self._answer
        if answer is None or message.response_id not in ("", answer.response_id):
            return []
        INTERRUPTIONS.labels(message.reason).inc()
        heard = answer.heard(self._clock())
        return [await self._end(answer, "cancelled", heard, message.reason)]

    async def _fail(self, answer: Answer, problem: str) -> ResponseEnded:
        with concerning(response_id=answer.response_id):
            log.error("response %s failed: %s", answer.response_id, problem)
        await scripts.interrupt(self._pipe, self.hold, response_id=answer.response_id)
        return await self._end(answer, "failed", answer.heard(self._clock()), problem)

    async def _end(
        self, answer: Answer, status: Status, text: str, reason: str = ""
    ) -> ResponseEnded:
        ended = ResponseEnded(answer, status, text, reason)
        await self._settle(ended)
        if not self.fresh:
            # the gateway before may have ended it, by its own clock, and not have said so
            saved = await self._pipe.command("HGET", self.keys.items, answer.item_id)
            text = text if saved is None else decode(saved, Item).text or ""
            ended = ResponseEnded(answer, status, text, reason)
        self._answer, self._last_answer = None, answer
        return ended

    async def _settle(self, ended: ResponseEnded) -> None:
        """The broker lets go of the response, and keeps what was heard of it."""
        answer = ended.answer
        observe_answer(ended.status, answer.playout.underruns)
        self._traced.ended(ended)
        item = answer.item(ended.status, ended.text)
        status = await scripts.end_response(
            self._pipe, self.hold, answer.response_id, item, self.entry, aside=answer.aside
        )
        still_ours(status)
