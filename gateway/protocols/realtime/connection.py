"""One client of the Realtime protocol: its events in, the session's events out."""

import asyncio
import contextlib
import logging
from typing import Any, Literal, cast

import msgspec
from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.hub import Hub
from gateway.protocols.realtime import effective, outgoing
from gateway.protocols.realtime.formats import FORMATS, Microphone
from gateway.protocols.realtime.incoming import ClientEvent, ProtocolError, audio_bytes, parse
from gateway.protocols.realtime.outgoing import Event, ResponseView, event
from gateway.session import AudioOut, ResponseEnded, Session, SessionEnded
from gateway.session import ClientEvent as SessionEvent
from shared.audio import AudioError
from shared.ids import new_id
from shared.messages import (
    Cleared,
    CommitRefused,
    Committed,
    Item,
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
_LONGEST_TEXT = 32_768

log = logging.getLogger(__name__)


async def serve(socket: WebSocket, hub: Hub) -> None:
    """Serves one client of the Realtime protocol until it goes."""
    offered = socket.scope.get("subprotocols") or []
    await socket.accept(subprotocol="realtime" if "realtime" in offered else None)
    model = socket.query_params.get("model") or hub.settings.llm_model
    configuration = effective.initial(hub.settings, model)
    timings = socket.query_params.get("timings") == "true"
    config = effective.config_of(configuration)
    async with hub.session(config, lead_s=_LEAD_S) as session:
        connection = _Connection(socket, session, configuration, timings=timings)
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(connection.show(), name="session events")
            with contextlib.suppress(WebSocketDisconnect):
                await connection.listen()
            showing.cancel()


class _Connection:
    """The state of one connection: the configuration as shown, the item and response at hand."""

    def __init__(
        self, socket: WebSocket, session: Session, configuration: Event, *, timings: bool
    ) -> None:
        self._socket = socket
        self._session = session
        self._configuration = {**configuration, "id": session.keys.session_id}
        self._timings = timings
        self._conversation_id = new_id("conv")
        self._microphone = Microphone(self._format("input"))
        self._last_item: str | None = None
        self._view: ResponseView | None = None
        self._view_previous: str | None = None
        self._speaker = self._format("output")

    # --- what the client sends ---

    async def listen(self) -> None:
        """Takes the client's events, until it goes."""
        await self._send(event("session.created", session=self._configuration))
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            try:
                text = message.get("text")
                if text is None:
                    raise ProtocolError("events must be text frames of JSON, not binary")
                await self._obey(parse(text))
            except ProtocolError as problem:
                await self._send(outgoing.error(problem))

    async def _obey(self, request: ClientEvent) -> None:
        try:
            await self._dispatch(request)
        except ProtocolError as problem:
            problem.event_id = problem.event_id or request.event_id
            raise

    async def _dispatch(self, request: ClientEvent) -> None:
        match request:
            case InputAudioBufferAppendEvent():
                self._append(request)
            case InputAudioBufferCommitEvent():
                self._session.command("commit", request.event_id)
            case InputAudioBufferClearEvent():
                self._session.command("clear")
            case SessionUpdateEvent():
                await self._update(request)
            case ConversationItemCreateEvent():
                await self._create_item(request)
            case ConversationItemTruncateEvent():
                await self._truncate(request)
            case ResponseCreateEvent():
                await self._respond(request)
            case _:
                await self._cancel()

    def _append(self, request: InputAudioBufferAppendEvent) -> None:
        try:
            samples = self._microphone.take(audio_bytes(request))
        except AudioError as error:
            raise ProtocolError(f"audio: {error}", param="audio") from error
        if len(samples):
            self._session.push(samples)

    async def _update(self, request: SessionUpdateEvent) -> None:
        update = request.session.model_dump(exclude_unset=True)
        self._configuration = effective.updated(self._configuration, update)
        if self._microphone.format is not self._format("input"):
            self._microphone = Microphone(self._format("input"))
        await self._session.configure(effective.config_of(self._configuration))
        await self._send(event("session.updated", session=self._configuration))

    async def _create_item(self, request: ConversationItemCreateEvent) -> None:
        fields = request.item.model_dump(exclude_none=True)
        if fields.get("type") != "message":
            raise ProtocolError(
                f"items of type {fields.get('type')} are not supported by this server",
                param="item.type",
            )
        if request.previous_item_id not in (None, self._last_item):
            raise ProtocolError(
                "previous_item_id must be absent: items are added at the end",
                param="previous_item_id",
            )
        item = Item(
            item_id=fields.get("id") or new_id("item"),
            role=fields["role"],
            text=_text_of(fields["content"]),
        )
        await self._session.add_item(item)
        previous, self._last_item = self._last_item, item.item_id
        await self._send(*outgoing.item_added(outgoing.item_json(item), previous))

    async def _truncate(self, request: ConversationItemTruncateEvent) -> None:
        text = await self._session.truncate(request.item_id, request.audio_end_ms)
        if text is None:
            raise ProtocolError(
                f"item_id: the last answer is not {request.item_id!r}",
                code="item_truncate_invalid_item_id",
                param="item_id",
            )
        await self._send(
            event(
                "conversation.item.truncated",
                item_id=request.item_id,
                content_index=request.content_index,
                audio_end_ms=request.audio_end_ms,
            )
        )

    async def _respond(self, request: ResponseCreateEvent) -> None:
        wanted = request.response.model_dump(exclude_none=True) if request.response else {}
        known = {"instructions", "output_modalities", "max_output_tokens"}
        for name in wanted.keys() - known:
            raise ProtocolError(
                f"response.{name} is not supported by this server", param=f"response.{name}"
            )
        modalities = wanted.get("output_modalities")
        if modalities not in (None, ["audio"], ["text"]):
            raise ProtocolError(
                'response.output_modalities must be ["audio"] or ["text"]',
                param="response.output_modalities",
            )
        tokens = wanted.get("max_output_tokens")
        begun = await self._session.respond(
            instructions=wanted.get("instructions"),
            modality=cast(Literal["audio", "text"], modalities[0]) if modalities else None,
            max_output_tokens=tokens if isinstance(tokens, int) else None,
        )
        if not begun:
            raise ProtocolError(
                "Conversation already has an active response in progress",
                code="conversation_already_has_active_response",
            )

    async def _cancel(self) -> None:
        if not await self._session.cancel():
            raise ProtocolError(
                "Cancellation failed: no active response found", code="response_cancel_not_active"
            )

    # --- what it is shown ---

    async def show(self) -> None:
        """Sends the session's events, until it ends."""
        try:
            async for happened in self._session.events():
                await self._send(*self._shown(happened))
        except SessionEnded as error:
            log.info("session %s: %s", self._session.keys.session_id, error)
            await self._socket.close(code=1012)

    def _shown(self, happened: SessionEvent) -> list[Event]:
        match happened:
            case AudioOut():
                return [self._view.audio(happened.samples, self._speaker)] if self._view else []
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
            case SpeechStarted():
                start_ms = outgoing.position_ms(happened.at)
                kind = "input_audio_buffer.speech_started"
                return [event(kind, audio_start_ms=start_ms, item_id=happened.item_id)]
            case SpeechStopped():
                end_ms = outgoing.position_ms(happened.at)
                kind = "input_audio_buffer.speech_stopped"
                return [event(kind, audio_end_ms=end_ms, item_id=happened.item_id)]
            case Committed():
                previous, self._last_item = self._last_item, happened.item_id
                return outgoing.committed(happened, previous)
            case CommitRefused():
                return [outgoing.commit_refused(happened)]
            case Cleared():
                return [event("input_audio_buffer.cleared")]
            case Transcribed() if self._configuration["audio"]["input"]["transcription"]:
                return outgoing.transcribed(happened)
            case TranscriptionFailed():
                return [
                    event(
                        "conversation.item.input_audio_transcription.failed",
                        item_id=happened.item_id,
                        content_index=0,
                        error={"type": "server_error", "message": happened.message},
                    )
                ]
            case _:
                return []

    def _begin(self, created: ResponseCreated) -> list[Event]:
        self._speaker = self._format("output")
        self._view = ResponseView(
            (created.response_id, created.item_id),
            created.modality,
            self._conversation_id,
            self._configuration,
        )
        self._view_previous, self._last_item = self._last_item, created.item_id
        return self._view.created(self._view_previous)

    def _end(self, end: ResponseEnded) -> list[Event]:
        view, self._view = self._view, None
        if view is None:
            return []
        events = view.ended(end, self._view_previous)
        if self._timings:
            timings: dict[str, Any] = {
                "response_id": view.response_id,
                "item_id": view.item_id,
                "marks": end.answer.marks,
            }
            events.append(event("parley.timings", **timings))
        return events

    def _format(self, side: Literal["input", "output"]) -> Any:
        return FORMATS[self._configuration["audio"][side]["format"]["type"]]

    async def _send(self, *events: Event) -> None:
        for shown in events:
            await self._socket.send_text(msgspec.json.encode(shown).decode())


def _text_of(content: list[dict[str, Any]]) -> str:
    texts = []
    for index, part in enumerate(content):
        text = part.get("text") or part.get("transcript")
        if text is None:
            raise ProtocolError(
                f"item.content.{index}: content of type {part.get('type')} is not supported "
                "by this server",
                param=f"item.content.{index}",
            )
        texts.append(text)
    joined = "\n".join(texts)
    if len(joined) > _LONGEST_TEXT:
        raise ProtocolError(
            f"item.content must hold at most {_LONGEST_TEXT} characters", param="item.content"
        )
    return joined
