"""One client of the Realtime protocol: its events in, the session's events out."""

import asyncio
from typing import Any

import msgspec
from openai.types.realtime import InputAudioBufferAppendEvent
from redis.exceptions import OutOfMemoryError
from starlette.websockets import WebSocket

from gateway.access import Exceeded, Grant
from gateway.cursor import Cursor
from gateway.happenings import AudioOut, ResponseEnded
from gateway.happenings import ClientEvent as SessionEvent
from gateway.hub import Hub, Resumed
from gateway.protocols import wire
from gateway.protocols.realtime import beta, outgoing, resuming
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.events import Event
from gateway.protocols.realtime.formats import TICKS
from gateway.protocols.realtime.incoming import Append, ClientEvent, parse, reference
from gateway.protocols.realtime.requests import Requests
from gateway.protocols.realtime.showing import Showing
from gateway.protocols.wire import Client
from gateway.session import Session
from shared.heartbeat import Offers
from shared.messages import CommitRefused, Committed, ResponseCreated
from shared.settings import Settings

# Ahead of the client's playing: enough to ride out a network's hiccup, little enough that what
# was sent is not far from what was heard.
_LEAD_S = 1.0

# What is no request, but audio.
_AUDIO = (Append, InputAudioBufferAppendEvent)


async def serve(socket: WebSocket, hub: Hub) -> None:
    """Serves one client of the Realtime protocol until it goes."""
    offered = _offered(socket)
    ticket = resuming.ticket(offered)

    async def opening(grant: Grant) -> tuple[Session, _Connection]:
        if ticket is None:
            return await _open(socket, hub, grant)
        return await _resume(socket, hub, grant, ticket)

    await wire.serve(
        socket,
        hub,
        opening,
        resumable=True,
        resumes=ticket is not None,
        subprotocol="realtime" if "realtime" in offered else None,
    )


async def _open(socket: WebSocket, hub: Hub, grant: Grant) -> tuple[Session, "_Connection"]:
    configuration = _fresh(socket, hub.settings, grant.session, await hub.offers())
    session, token = await hub.open(configuration.meaning, _LEAD_S)
    hello = resuming.created(session, configuration, token)
    return session, _Connection(session, configuration, Cursor(), hello, grant, socket)


async def _resume(
    socket: WebSocket, hub: Hub, grant: Grant, ticket: resuming.Ticket
) -> tuple[Session, "_Connection"]:
    cursor = Cursor.parse(socket.query_params.get("after", ""))
    session, resumed = await hub.resume(ticket.session_id, ticket.token, cursor, _LEAD_S)
    configuration = Configuration.restored(hub.settings, session.config, await hub.offers())
    hello = resuming.resumed(session, configuration, resumed)
    connection = _Connection(session, configuration, cursor, hello, grant, socket)
    connection.restore(resumed)
    return session, connection


def _offered(socket: WebSocket) -> list[str]:
    """The subprotocols that the client offers."""
    return socket.scope.get("subprotocols") or []


def _fresh(
    socket: WebSocket, settings: Settings, given: dict[str, Any] | None, offers: Offers
) -> Configuration:
    """The configuration that is `given` by an ephemeral key, or that the address asks for."""
    query = socket.query_params
    try:
        if given is not None:
            kind = given.get("type", "realtime")
            return Configuration(settings, offers=offers, kind=kind).updated(given)
        if query.get("intent") == "transcription":
            return Configuration.transcription(settings, offers)
        return Configuration(settings, query.get("model", ""), offers)
    except ProtocolError as problem:
        raise ValueError(problem.message) from problem


class _Connection:
    """The state of one connection: where it stands in the session's output, and who reads it."""

    _client: Client

    def __init__(
        self,
        session: Session,
        configuration: Configuration,
        cursor: Cursor,
        hello: Event,
        grant: Grant,
        socket: WebSocket,
    ) -> None:
        self._session = session
        self._cursor = cursor
        self._hello = hello
        self._grant = grant
        self._requests = Requests(session, configuration, cursor, grant)
        timings = socket.query_params.get("timings") == "true"
        self._showing = Showing(session, lambda: self._requests.configuration, timings=timings)
        self._beta = beta.wanted(socket.headers, _offered(socket))
        self._sending = asyncio.Lock()

    def restore(self, resumed: Resumed) -> None:
        """Goes on where another connection left the session."""
        self._cursor.requests = resumed.requests
        self._requests.restore(resumed.audio_ms * TICKS // 1000, resumed.settled)
        self._showing.restore(resumed.items)

    async def converse(self, client: Client) -> None:
        """Tells the client what it gets if it asks for nothing, or from where it goes on, and then
        takes its events and sends the session's."""
        self._client = client
        await self._send(self._hello)
        await wire.both(self.listen(), self.show())

    async def part(self, ended: Exceeded) -> None:
        """Tells the client why its session ends."""
        await self._send(outgoing.error(ProtocolError(str(ended), code=ended.code)))

    async def listen(self) -> None:
        """Takes the client's events."""
        while True:
            frame = await self._client.receive()
            request = None
            try:
                try:
                    request = self._read(frame)
                finally:
                    if not isinstance(request, _AUDIO):
                        await self._grant.request()
                await self._requests.carry_out(request, self._showing)
            except (ProtocolError, Exceeded, OutOfMemoryError) as error:
                refused = _refusal(error)
                if request is not None:
                    refused.event_id = reference(request.event_id)
                await self._send(outgoing.error(refused))
            if not isinstance(request, _AUDIO):
                self._cursor.requests += 1

    def _read(self, frame: str | bytes) -> ClientEvent:
        if isinstance(frame, bytes):
            raise ProtocolError("events must be text frames of JSON, not binary")
        return parse(frame, beta.to_ga if self._beta else None)

    async def show(self) -> None:
        """Sends the session's events."""
        known = self._cursor.shown
        for happened in await self._session.left_over():
            if _ends(happened):
                await self._show(happened, self._cursor.closing)
            else:
                known -= await self._show(happened, known)
        async for happened in self._session.events():
            self._cursor.take_in(self._session.entry)
            if isinstance(happened, ResponseCreated) and not happened.aside:
                self._cursor.begin_response()
            await self._show(happened)

    async def _show(self, happened: SessionEvent, known: int = 0) -> int:
        """Sends the events of what happened, but for the first few that the client has, at most
        `known`; returns how many those were."""
        if isinstance(happened, Committed | CommitRefused):
            self._requests.settle(happened)
        if isinstance(happened, ResponseEnded) and not known:
            self._grant.answered(happened.answer)
        events = self._showing.shown(happened)
        if isinstance(happened, ResponseCreated) and (rate := self._grant.remaining()):
            events.append(outgoing.rate_limits(rate))
        for shown in events[known:]:
            async with self._sending:
                if _ends(happened):
                    self._cursor.closing += 1
                elif isinstance(happened, AudioOut) and not happened.answer.aside:
                    self._cursor.samples = happened.sent
                else:
                    self._cursor.shown += 1
                await self._stamp_and_send(shown)
        return min(known, len(events))

    async def _send(self, shown: Event) -> None:
        async with self._sending:
            await self._stamp_and_send(shown)

    async def _stamp_and_send(self, shown: Event) -> None:
        self._cursor.events += 1
        shown["event_id"] = str(self._cursor)
        for each in beta.from_ga(shown) if self._beta else [shown]:
            await self._client.send(msgspec.json.encode(each).decode())


def _refusal(error: ProtocolError | Exceeded | OutOfMemoryError) -> ProtocolError:
    """What the client is told of a request that was not carried out."""
    match error:
        case ProtocolError():
            return error
        case Exceeded():
            return ProtocolError(str(error), code=error.code)
    return ProtocolError("the server has no memory for this now", code="server_overloaded")


def _ends(happened: SessionEvent) -> bool:
    """Whether it is the end of the conversation's response, which a gateway decides on."""
    return isinstance(happened, ResponseEnded) and not happened.answer.aside
