"""One client of the Realtime protocol: its events in, the session's events out."""

import asyncio
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

from gateway.cursor import Cursor
from gateway.happenings import AudioOut, ResponseEnded
from gateway.happenings import ClientEvent as SessionEvent
from gateway.hub import Hub, Resumed
from gateway.protocols import wire
from gateway.protocols.realtime import effective, outgoing, resuming
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.formats import TICKS, Microphone
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
from gateway.session import Session
from shared.messages import (
    Cleared,
    CommitRefused,
    Committed,
    Configured,
    ItemAdded,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    Transcribed,
    TranscriptionFailed,
    Truncated,
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
    opened = await wire.admit(socket, _open(socket, hub, resuming.ticket(offered)))
    if opened is None:
        return
    session, connection = opened

    async def converse(client: Client, _: Session) -> None:
        await connection.greet(client)
        await wire.both(connection.listen(), connection.show())

    await wire.hold(
        socket,
        hub,
        session,
        converse,
        resumable=True,
        subprotocol="realtime" if "realtime" in offered else None,
    )


async def _open(
    socket: WebSocket, hub: Hub, ticket: resuming.Ticket | None
) -> tuple[Session, "_Connection"]:
    timings = socket.query_params.get("timings") == "true"
    if ticket is None:
        model = socket.query_params.get("model") or hub.settings.llm_model
        configuration = Configuration(hub.settings, model)
        session, token = await hub.open(configuration.meaning, _LEAD_S)
        hello = resuming.created(session, configuration, token)
        return session, _Connection(session, configuration, Cursor(), hello, timings=timings)
    cursor = Cursor.parse(socket.query_params.get("after", ""))
    session, resumed = await hub.resume(ticket.session_id, ticket.token, cursor, _LEAD_S)
    configuration = Configuration.restored(hub.settings, session.config)
    hello = resuming.resumed(session, configuration, resumed)
    connection = _Connection(session, configuration, cursor, hello, timings=timings)
    connection.restore(resumed)
    return session, connection


class _Connection:
    """The state of one connection: the configuration, the items' ids, the response at hand."""

    _client: Client

    def __init__(
        self,
        session: Session,
        configuration: Configuration,
        cursor: Cursor,
        hello: Event,
        *,
        timings: bool,
    ) -> None:
        self._session = session
        self._configuration = configuration
        self._cursor = cursor
        self._hello = hello
        self._timings = timings
        self._conversation_id = session.keys.session_id.replace("sess", "conv", 1)
        self._microphone = Microphone(configuration.input_format)
        self._items: list[str] = []
        # The item that the client added last, until the session's output shows it.
        self._added: str | None = None
        self._view: ResponseView | None = None
        self._sending = asyncio.Lock()

    def restore(self, resumed: Resumed) -> None:
        """Goes on where another connection left the session."""
        self._cursor.requests = resumed.requests
        self._items = resumed.items
        self._listen_from(resumed.audio_ms * TICKS // 1000)
        if (created := self._session.created) is not None:
            self._begin(created)

    async def greet(self, client: Client) -> None:
        """Tells the client what it gets if it asks for nothing, or from where it goes on."""
        self._client = client
        await self._send(self._hello)

    # --- what the client sends ---

    async def listen(self) -> None:
        """Takes the client's events."""
        while True:
            frame = await self._client.receive()
            request = None
            try:
                if isinstance(frame, bytes):
                    raise ProtocolError("events must be text frames of JSON, not binary")
                request = parse(frame)
                await self._obey(request)
            except ProtocolError as problem:
                await self._send(outgoing.error(problem))
            if not isinstance(request, InputAudioBufferAppendEvent):
                self._cursor.requests += 1

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
                await self._commit(request.event_id)
            case InputAudioBufferClearEvent():
                self._listen_from(self._microphone.taken)
                await self._session.command("clear", request=self._request)
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

    async def _commit(self, reference: str | None) -> None:
        rest = self._microphone.end()
        if len(rest):
            self._session.push(rest)
        self._listen_from(self._microphone.taken)
        await self._session.command("commit", reference, request=self._request)

    def _listen_from(self, taken: int) -> None:
        """The client's audio begins anew, after so many ticks of the session."""
        self._microphone = Microphone(self._configuration.input_format, taken)
        self._session.seek(self._microphone.position)

    async def _update(self, request: SessionUpdate) -> None:
        update = request.session.model_dump(exclude_unset=True)
        configuration = self._configuration.updated(update)
        if self._view and configuration.output_format is not self._configuration.output_format:
            param = "session.audio.output.format"
            raise ProtocolError(f"{param} cannot change while a response is active", param=param)
        self._configuration = configuration
        if configuration.input_format is not self._microphone.format:
            self._listen_from(self._microphone.taken)
        await self._session.configure(configuration.meaning, request=self._request)

    async def _create_item(self, request: ConversationItemCreateEvent) -> None:
        item = item_of(request)
        last = self._added or (self._items[-1] if self._items else None)
        if "previous_item_id" in request.model_fields_set and request.previous_item_id != last:
            raise ProtocolError(
                "previous_item_id must be absent: items are added at the end",
                param="previous_item_id",
            )
        if item.item_id in (*self._items, self._added):
            raise ProtocolError(
                f"item.id: the conversation has an item {item.item_id!r} already",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        await self._session.add_item(item, request=self._request)
        self._added = item.item_id

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
        await self._session.truncate(answer, request.audio_end_ms, request=self._request)

    async def _respond(self, request: ResponseCreateEvent) -> None:
        wanted = request.response.model_dump(exclude_none=True) if request.response else {}
        effective.refuse(wanted, _REFUSED, "response")
        modalities = wanted.get("output_modalities")
        begun = await self._session.respond(
            instructions=wanted.get("instructions"),
            modality=effective.modality(modalities, "response") if modalities else None,
            max_output_tokens=effective.most_tokens(wanted.get("max_output_tokens"), "response"),
            request=self._request,
        )
        if not begun:
            raise ProtocolError(
                "Conversation already has an active response in progress",
                code="conversation_already_has_active_response",
            )

    async def _cancel(self, request: ResponseCancelEvent) -> None:
        if not await self._session.cancel(request.response_id, request=self._request):
            raise ProtocolError(
                "Cancellation failed: no active response found", code="response_cancel_not_active"
            )

    @property
    def _request(self) -> int:
        """The number of the request at hand."""
        return self._cursor.requests + 1

    # --- what it is shown ---

    async def show(self) -> None:
        """Sends the session's events."""
        for happened in await self._session.left_over():
            ended = isinstance(happened, ResponseEnded)
            known = self._cursor.closing if ended else self._cursor.shown
            await self._show(happened, known)
        async for happened in self._session.events():
            self._cursor.take_in(self._session.entry)
            if isinstance(happened, ResponseCreated):
                self._cursor.begin_response()
            await self._show(happened)

    async def _show(self, happened: SessionEvent, known: int = 0) -> None:
        """Sends the events of what happened, but for the first few that the client has."""
        for shown in self._shown(happened)[known:]:
            async with self._sending:
                match happened:
                    case AudioOut():
                        self._cursor.samples = happened.sent
                    case ResponseEnded():
                        self._cursor.closing += 1
                    case _:
                        self._cursor.shown += 1
                await self._stamp_and_send(shown)

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
        """What became of the user's audio and requests."""
        match happened:
            case SpeechStarted() | SpeechStopped():
                return [outgoing.speech(happened)]
            case Committed():
                return outgoing.committed(happened, self._add(happened.item_id))
            case CommitRefused():
                return [outgoing.commit_refused(happened)]
            case Cleared():
                return [event("input_audio_buffer.cleared")]
            case Configured():
                configuration = self._configuration
                return [resuming.session_event("session.updated", self._session, configuration)]
            case ItemAdded():
                item = outgoing.item_json(happened.item)
                return outgoing.item_added(item, self._add(happened.item.item_id))
            case Truncated():
                return [outgoing.truncated(happened)]
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
        """Notes that the conversation has this item now; returns the one before it."""
        if item_id in self._items:  # of a session that was resumed
            place = self._items.index(item_id)
            return self._items[place - 1] if place else None
        previous = self._items[-1] if self._items else None
        self._items.append(item_id)
        self._added = None
        return previous

    async def _send(self, shown: Event) -> None:
        async with self._sending:
            await self._stamp_and_send(shown)

    async def _stamp_and_send(self, shown: Event) -> None:
        self._cursor.events += 1
        shown["event_id"] = str(self._cursor)
        await self._client.send(msgspec.json.encode(shown).decode())
