"""What a connection may take before anybody knows whose it is, and after everybody is done with it.

uvicorn waits for a request as long as it takes, accepts any number of connections, and closes one
when its peer has read everything, which a peer that has stopped reading never has. So these are its
protocols with an end to each wait.
"""

import asyncio
import ipaddress
from collections import Counter
from typing import Any, ClassVar

import h11
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from shared.metrics.gateway import REFUSED
from shared.settings import Settings

# For a client that is refused to hear why.
_PARTING_S = 1.0
# For a client to take what it was sent before its connection was closed.
_LINGER_S = 10.0

_REFUSED = {"Retry-After": "5", "Connection": "close"}


class Bounds:
    """The connections of one gateway."""

    def __init__(self, settings: Settings) -> None:
        self.request_timeout_s = settings.handshake_timeout_s
        self._most = settings.connections
        self._most_of_address = settings.connections_per_address
        self._open: dict[asyncio.BaseTransport, str] = {}
        self._of_address: Counter[str] = Counter()

    def enter(self, transport: asyncio.BaseTransport) -> PlainTextResponse | None:
        """Counts a connection; or, if there are too many, what it is to be told."""
        if len(self._open) >= self._most:
            REFUSED.labels("connections").inc()
            return PlainTextResponse("the server has too many connections", 503, _REFUSED)
        address = _network(transport.get_extra_info("peername"))
        if self._of_address[address] >= self._most_of_address:
            REFUSED.labels("connections").inc()
            return PlainTextResponse("your address has too many connections", 429, _REFUSED)
        self._open[transport] = address
        self._of_address[address] += 1
        return None

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """Counts a connection no more."""
        address = self._open.pop(transport, None)
        if address is not None:
            self._of_address[address] -= 1
            self._of_address += Counter()  # forgets those that have none

    @property
    def http(self) -> type[asyncio.Protocol]:
        """uvicorn's protocol for a connection."""

        class Http(_Http):
            bounds = self

        return Http

    @property
    def websocket(self) -> type[asyncio.Protocol]:
        """uvicorn's protocol for a connection that has become a WebSocket."""

        class WebSocket(_WebSocket):
            bounds = self

        return WebSocket


def _network(peer: Any) -> str:
    """The address, or of an IPv6 address the network that one customer has; "" if it is gone."""
    if not peer:
        return ""
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


class _Http(H11Protocol):
    """Each request must have come and been answered in time."""

    bounds: ClassVar[Bounds]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._refused: PlainTextResponse | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._refused = self.bounds.enter(transport)
        if self._refused is not None:
            self.app = self._refused
        self._begin(_PARTING_S if self._refused else self.bounds.request_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self.bounds.leave(self.transport)
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            self._begin(self.bounds.request_timeout_s)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        # whoever is still answering the request's beginning has nobody to tell it to
        if self.cycle is not None:
            self.cycle.disconnected = True
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:  # it was answered before it had all come
            self.transport.close()

    def on_response_complete(self) -> None:
        self._end()
        super().on_response_complete()
        if self.conn.their_state is not h11.IDLE:  # the next request has come, or some of it
            self._begin(self.bounds.request_timeout_s)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._end()
        super().handle_websocket_upgrade(event)

    def _should_upgrade(self) -> bool:
        return self._refused is None and super()._should_upgrade()

    def _begin(self, timeout_s: float) -> None:
        self._deadline = self.loop.call_later(timeout_s, self.transport.abort)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _WebSocket(WebSocketsSansIOProtocol):
    """A connection that was closed here is gone soon, whatever its peer does."""

    bounds: ClassVar[Bounds]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._last_call: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.bounds.leave(self.transport)
        if self._last_call is not None:
            self._last_call.cancel()
        super().connection_lost(exc)

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._linger()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._linger()

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:  # its handshake was not answered: there is none to close
            self.transport.abort()
            return
        super().handle_parser_exception()
        self._linger()

    def _linger(self) -> None:
        if not self.disconnected and self._last_call is None:
            self._last_call = self.loop.call_later(_LINGER_S, self.transport.abort)
