"""What happens in a session, as the protocol's events. No I/O.

The conversation's order is followed here: what is shown of an item names the item before it.
"""

import json
import logging
from collections.abc import Callable, Sequence

from gateway.happenings import AudioOut, ResponseEnded
from gateway.happenings import ClientEvent as SessionEvent
from gateway.protocols.realtime import items, outgoing, resuming
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.events import Event, event
from gateway.protocols.realtime.responses import ResponseView
from gateway.session import Session
from shared.logs import concerning
from shared.messages import (
    Cleared,
    CommitRefused,
    Committed,
    Configured,
    ItemAdded,
    ItemDeleted,
    ItemRetrieved,
    OutputCleared,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TextDone,
    TimeoutTriggered,
    Transcribed,
    TranscriptionFailed,
    Truncated,
)

MOST_ITEMS = 256
"""Which a conversation keeps, as the scripts have it: of more the oldest are gone."""

log = logging.getLogger(__name__)


class Showing:
    """Turns a session's events into the protocol's.

    `configuration` tells what is in effect; with `timings` a response's waterfall is shown too.
    """

    def __init__(
        self, session: Session, configuration: Callable[[], Configuration], *, timings: bool
    ) -> None:
        self.spoke = False
        """Whether the client was sent any audio."""
        self._session = session
        self._configuration = configuration
        self._timings = timings
        self._conversation_id = session.keys.session_id.replace("sess", "conv", 1)
        self._order: list[str] = []
        self._views: dict[str, ResponseView] = {}

    def restore(self, order: Sequence[str]) -> None:
        """Goes on where another connection left the session, whose conversation has `order`."""
        self._order = list(order)
        self.spoke = bool(order)
        for created in self._session.created:
            self._begin(created).begun = self._session.has_words(created.response_id)

    @property
    def responding(self) -> bool:
        """Whether an answer is being shown."""
        return bool(self._views)

    def shown(self, happened: SessionEvent) -> list[Event]:
        """The events that tell the client what happened."""
        match happened:
            case AudioOut():
                self.spoke = True
                view = self._views.get(happened.answer.response_id)
                return [view.audio(happened.samples)] if view else []
            case TextDelta():
                return self._text(happened)
            case TextDone():
                return self._calls(happened)
            case ResponseCreated():
                return self._begin(happened).created()
            case ResponseEnded():
                return self._end(happened)
            case _:
                return self._heard(happened) or self._changed(happened)

    def _heard(self, happened: SessionEvent) -> list[Event]:
        """What became of the user's audio."""
        match happened:
            case SpeechStarted() | SpeechStopped():
                return [outgoing.speech(happened)]
            case TimeoutTriggered():
                return [outgoing.timed_out(happened)]
            case Committed():
                return outgoing.committed(happened, self._add(happened.item_id))
            case CommitRefused():
                return [outgoing.commit_refused(happened)]
            case Cleared():
                return [event("input_audio_buffer.cleared")]
            case Transcribed() if self._configuration().transcribes:
                return outgoing.transcribed(happened)
            case TranscriptionFailed() if self._configuration().transcribes:
                return [outgoing.transcription_failed(happened)]
        return []

    def _changed(self, happened: SessionEvent) -> list[Event]:
        """What became of the client's requests."""
        match happened:
            case Configured():
                shown = json.loads(happened.protocol)
                return [resuming.session_event("session.updated", self._session, shown)]
            case ItemAdded():
                previous = self._add(happened.item.item_id, happened.after)
                return outgoing.item_added(happened, previous)
            case ItemDeleted():
                self._remove(happened.item_id)
                return [event("conversation.item.deleted", item_id=happened.item_id)]
            case ItemRetrieved():
                return [event("conversation.item.retrieved", item=items.shown(happened.item))]
            case Truncated():
                return [outgoing.truncated(happened)]
            case OutputCleared():
                return [event("output_audio_buffer.cleared", response_id=happened.response_id)]
        return []

    # --- responses ---

    def _begin(self, created: ResponseCreated) -> ResponseView:
        view = ResponseView(created, self._configuration(), self._conversation_id)
        self._views[created.response_id] = view
        return view

    def _text(self, delta: TextDelta) -> list[Event]:
        view = self._views.get(delta.response_id)
        if view is None:
            return []
        begun = [] if delta.at else view.begin(self._join(view, view.item_id))
        return [*begun, view.text(delta)]

    def _calls(self, done: TextDone) -> list[Event]:
        view = self._views.get(done.response_id)
        if view is None:
            return []
        return [
            shown
            for index, call in enumerate(done.calls)
            for shown in view.called(call, index, self._join(view, call.item_id))
        ]

    def _end(self, end: ResponseEnded) -> list[Event]:
        view = self._views.pop(end.answer.response_id, None)
        if view is None:
            return []
        events = view.ended(end, self._before(view.item_id))
        self._trace(end)
        if self._timings:
            ids = {"response_id": view.response_id, "item_id": view.item_id}
            events.append(event("parley.timings", **ids, marks=end.answer.marks))
        return events

    def _trace(self, end: ResponseEnded) -> None:
        """A session that is traced leaves each response's waterfall in the log."""
        tracing = self._configuration().tracing
        if tracing:
            trace = {
                "session": self._session.keys.session_id,
                "response": end.answer.response_id,
                "status": end.status,
                "marks": end.answer.marks,
                "tracing": tracing,
            }
            with concerning(response_id=end.answer.response_id):
                log.info("trace %s", json.dumps(trace))

    # --- the conversation's order ---

    def _join(self, view: ResponseView, item_id: str) -> str | None:
        """The item before one of a response's, which is in the conversation unless aside."""
        return None if view.aside else self._add(item_id)

    def _add(self, item_id: str, after: str | None = None) -> str | None:
        """Notes that the conversation has this item now, unless it has; returns the one before."""
        if item_id not in self._order:
            place = len(self._order)
            if after == "":
                place = 0
                del self._order[: max(len(self._order) - MOST_ITEMS + 1, 0)]
            elif after in self._order:
                place = self._order.index(after) + 1
            self._order.insert(place, item_id)
            del self._order[:-MOST_ITEMS]
        return self._before(item_id)

    def _before(self, item_id: str) -> str | None:
        """The item before this one, if both are in the conversation."""
        place = self._order.index(item_id) if item_id in self._order else 0
        return self._order[place - 1] if place else None

    def _remove(self, item_id: str) -> None:
        if item_id in self._order:
            self._order.remove(item_id)
