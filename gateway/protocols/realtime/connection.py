"""One client of the Realtime protocol: its events in, the session's events out."""

from typing import assert_never

import msgspec
from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    ResponseCancelEvent,
    ResponseCreateEvent,
)
from starlette.websockets import WebSocket

from gateway.hub import Hub
from gateway.protocols import wire
from gateway.protocols.realtime import effective, outgoing
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.formats import Microphone
from gateway.protocols.realtime.incoming import (
    ClientEvent,
    ProtocolError,
    SessionUpdate,
    audio_bytes,
    item_of,
    parse,
)
from gateway.protocols.realtime.outgoing import Event, ResponseView, event
from gateway.protocols.wire import Client
from gateway.session import AudioOut, ResponseEnded, Session
from gateway.session import ClientEvent as SessionEvent
from shared.ids import new_id
from shared.messages import (
    Cleared,
    CommitRefused,
    Committed,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    Transcribed,
    TranscriptionFailed,
)

# Ahead of the client's playing: enough to ride out a network's hiccup, little enough that what
# was sent is not far from what was heard.
_LEAD_S = 1.0

_REFUSED: effective.Refused = {
    ("audio",): (),
    ("conversation",): ("auto",),
    ("input",): (),
    ("metadata",): ({},),
    ("parallel_tool_calls",): (True,),
    ("prompt",): (),
    ("reasoning",): (),
    ("tool_choice",): ("auto", "none"),
    ("tools",): ([],),
}


async def serve(socket: WebSocket, hub: Hub) -> None:
    """Serves one client of the Realtime protocol until it goes."""
    offered = socket.scope.get("subprotocols") or []
    model = socket.query_params.get("model") or hub.settings.llm_model
    configuration = Configuration(hub.settings, model)
    timings = socket.query_params.get("timings") == "true"

    async def converse(client: Client, session: Session) -> None:
        connection = _Connection(client, session, configuration, timings=timings)
        await connection.greet()
        await wire.both(connection.listen(), connection.show())

    await wire.serve(
        socket,
        hub,
        configuration.meaning,
        converse,
        lead_s=_LEAD_S,
        subprotocol="realtime" if "realtime" in offered else None,
    )


class _Connection:
    """The state of one connection: the configuration, the items' ids, the response at hand."""

    def __init__(
        self, client: Client, session: Session, configuration: Configuration, *, timings: bool
    ) -> None:
        self._client = client
        self._session = session
        self._configuration = configuration
        self._timings = timings
        self._conversation_id = new_id("conv")
        self._microphone = Microphone(configuration.input_format)
        self._items: list[str] = []
        self._view: ResponseView | None = None

    async def greet(self) -> None:
        """Tells the client what it gets if it asks for nothing."""
        await self._send(self._session_event("session.created"))

    # --- what the client sends ---

    async def listen(self) -> None:
        """Takes the client's events."""
        while True:
            frame = await self._client.receive()
            try:
                if isinstance(frame, bytes):
                    raise ProtocolError("events must be text frames of JSON, not binary")
                await self._obey(parse(frame))
            except ProtocolError as problem:
                await self._send(outgoing.error(problem))

    async def _obey(self, request: ClientEvent) -> None:
        try:
            await self._dispatch(request)
        except ProtocolError as problem:
            problem.event_id = request.event_id
            raise

    async def _dispatch(self, request: ClientEvent) -> None:
        match request:
            case InputAudioBufferAppendEvent():
                self._append(audio_bytes(request))
            case InputAudioBufferCommitEvent():
                self._commit(request.event_id)
            case InputAudioBufferClearEvent():
                self._microphone = Microphone(self._configuration.input_format)
                self._session.command("clear")
            case SessionUpdate():
                await self._update(request)
            case ConversationItemCreateEvent():
                await self._create_item(request)
            case ConversationItemTruncateEvent():
                await self._truncate(request)
            case ResponseCreateEvent():
                await self._respond(request)
            case ResponseCancelEvent():
                await self._cancel(request)
            case _:
                assert_never(request)

    def _append(self, audio: bytes) -> None:
        samples = self._microphone.take(audio)
        if len(samples):
            self._session.push(samples)

    def _commit(self, reference: str | None) -> None:
        rest = self._microphone.end()
        self._microphone = Microphone(self._configuration.input_format)
        if len(rest):
            self._session.push(rest)
        self._session.command("commit", reference)

    async def _update(self, request: SessionUpdate) -> None:
        update = request.session.model_dump(exclude_unset=True)
        configuration = self._configuration.updated(update)
        if self._view and configuration.output_format is not self._configuration.output_format:
            param = "session.audio.output.format"
            raise ProtocolError(f"{param} cannot change while a response is active", param=param)
        if configuration.input_format is not self._microphone.format:
            self._microphone = Microphone(configuration.input_format)
        self._configuration = configuration
        await self._session.configure(configuration.meaning)
        await self._send(self._session_event("session.updated"))

    async def _create_item(self, request: ConversationItemCreateEvent) -> None:
        item = item_of(request)
        last = self._items[-1] if self._items else None
        if "previous_item_id" in request.model_fields_set and request.previous_item_id != last:
            raise ProtocolError(
                "previous_item_id must be absent: items are added at the end",
                param="previous_item_id",
            )
        if item.item_id in self._items:
            raise ProtocolError(
                f"item.id: the conversation has an item {item.item_id!r} already",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        await self._session.add_item(item)
        await self._send(*outgoing.item_added(outgoing.item_json(item), self._add(item.item_id)))

    async def _truncate(self, request: ConversationItemTruncateEvent) -> None:
        answer = self._session.spoken(request.item_id)
        if answer is None:
            raise ProtocolError(
                f"item_id: the last spoken answer is not {request.item_id!r}",
                code="item_truncate_invalid_item_id",
                param="item_id",
            )
        if request.content_index != 0:
            raise ProtocolError(
                "content_index must be 0: an answer has one part", param="content_index"
            )
        if not 0 <= request.audio_end_ms <= answer.sent_ms:
            raise ProtocolError(
                f"audio_end_ms must be from 0 to {answer.sent_ms}, the audio sent so far",
                param="audio_end_ms",
            )
        await self._session.truncate(answer, request.audio_end_ms)
        place = request.model_dump(include={"item_id", "content_index", "audio_end_ms"})
        await self._send(event("conversation.item.truncated", **place))

    async def _respond(self, request: ResponseCreateEvent) -> None:
        wanted = request.response.model_dump(exclude_none=True) if request.response else {}
        effective.refuse(wanted, _REFUSED, "response")
        modalities = wanted.get("output_modalities")
        begun = await self._session.respond(
            instructions=wanted.get("instructions"),
            modality=effective.modality(modalities, "response") if modalities else None,
            max_output_tokens=effective.most_tokens(wanted.get("max_output_tokens"), "response"),
        )
        if not begun:
            raise ProtocolError(
                "Conversation already has an active response in progress",
                code="conversation_already_has_active_response",
            )

    async def _cancel(self, request: ResponseCancelEvent) -> None:
        if not await self._session.cancel(request.response_id):
            raise ProtocolError(
                "Cancellation failed: no active response found", code="response_cancel_not_active"
            )

    # --- what it is shown ---

    async def show(self) -> None:
        """Sends the session's events."""
        async for happened in self._session.events():
            await self._send(*self._shown(happened))

    def _shown(self, happened: SessionEvent) -> list[Event]:
        match happened:
            case AudioOut():
                return [self._view.audio(happened.samples)] if self._view else []
            case TextDelta():
                return [self._view.text(happened.text)] if self._view else []
            case ResponseCreated():
                return self._begin(happened)
            case ResponseEnded():
                return self._end(happened)
            case _:
                return self._heard(happened)

    def _heard(self, happened: SessionEvent) -> list[Event]:
        """What became of the user's audio."""
        match happened:
            case SpeechStarted() | SpeechStopped():
                return [outgoing.speech(happened)]
            case Committed():
                return outgoing.committed(happened, self._add(happened.item_id))
            case CommitRefused():
                return [outgoing.commit_refused(happened)]
            case Cleared():
                return [event("input_audio_buffer.cleared")]
            case Transcribed() if self._configuration.transcribes:
                return outgoing.transcribed(happened)
            case TranscriptionFailed() if self._configuration.transcribes:
                return [outgoing.transcription_failed(happened)]
            case _:
                return []

    def _begin(self, created: ResponseCreated) -> list[Event]:
        self._view = ResponseView(
            created,
            self._configuration,
            conversation_id=self._conversation_id,
            previous=self._add(created.item_id),
        )
        return self._view.created()

    def _end(self, end: ResponseEnded) -> list[Event]:
        view, self._view = self._view, None
        if view is None:
            return []
        events = view.ended(end)
        if self._timings:
            ids = {"response_id": view.response_id, "item_id": view.item_id}
            events.append(event("parley.timings", **ids, marks=end.answer.marks))
        return events

    def _add(self, item_id: str) -> str | None:
        """Notes that the conversation ends with this item now; returns the one before."""
        previous = self._items[-1] if self._items else None
        self._items.append(item_id)
        return previous

    def _session_event(self, kind: str) -> Event:
        session_id = self._session.keys.session_id
        return event(kind, session={"id": session_id, **self._configuration.shown})

    async def _send(self, *events: Event) -> None:
        for shown in events:
            await self._client.send(msgspec.json.encode(shown).decode())
