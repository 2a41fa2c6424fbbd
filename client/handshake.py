"""Connecting to a server, for the first time or to go on with a session."""

import asyncio
import http
import logging
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from client.errors import ParleyError, Unavailable
from client.events import Event

ENDPOINT = "/v1/realtime"
CONNECT_TIMEOUT_S = 10
RESUME_TIMEOUT_S = 7  # a gateway waits 5 s for its broker before it says that it cannot serve
MAX_EVENT_BYTES = 16 * 2**20

# A network that goes silent is noticed after their sum.
PING_INTERVAL_S = 4
PING_TIMEOUT_S = 5
CLOSE_TIMEOUT_S = 2

# Closing codes after which the session waits: none at all, internal error, restart, try later.
_WAITING = {1006, 1011, 1012, 1013}
_TRY_AGAIN_LATER = 1013
_TRY_AGAIN_LATER_S = 1.0

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}

# At the level DEBUG websockets writes down what it sends, keys and tokens included.
_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)


@dataclass(frozen=True)
class Ticket:
    """What lets a client whose connection broke go on with its session, for `within_s` seconds."""

    session_id: str
    token: str = field(repr=False)
    within_s: float


class _WithoutRedirects(connect):
    """Takes a session's token to the server that gave it and to no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def realtime_url(url: str) -> str:
    """The WebSocket address for a server's `url`; without a path it gets the endpoint's.

    Raises:
        ParleyError: not an address that begins with ws, wss, http or https.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that are not closed, a port that is no number
        usable = False
    if not usable:
        raise ParleyError(f"url must look like ws://127.0.0.1:8080, not {url!r}")
    path = ENDPOINT if parts.path in ("", "/") else parts.path
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, parts.query, ""))


async def begin(url: str, api_key: str | None) -> tuple[ClientConnection, Event]:
    """Connects for a new session; returns the connection and the first event on it.

    Raises:
        Unavailable: nothing answers at `url`, or it takes no further session now.
        ParleyError: it refuses; the message says why.
    """
    return await _first_event(url, connect(url, **_options(api_key)), CONNECT_TIMEOUT_S)


async def resume(
    url: str, api_key: str | None, ticket: Ticket, after: str
) -> tuple[ClientConnection, Event]:
    """Connects again, to hear what came after the event `after`; returns as `begin` does.

    Raises:
        Unavailable: not now, but perhaps later.
        ParleyError: never again.
    """
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, f"after={quote(after, safe='')}")))
    offered = ["realtime", f"parley-resume.{ticket.session_id}.{ticket.token}"]
    dial = _WithoutRedirects(
        urlunsplit(parts._replace(query=query)),
        subprotocols=[Subprotocol(name) for name in offered],
        **_options(api_key),
    )
    return await _first_event(url, dial, RESUME_TIMEOUT_S)


def broken(error: ConnectionClosed) -> ParleyError:
    """The end of a connection in a sentence; `Unavailable` if its session waits for another."""
    close = error.rcvd or error.sent
    code = close.code if close else 1006
    message = f"the server closed the connection: {error.rcvd or 'it broke off'}"
    if code not in _WAITING:
        return ParleyError(message)
    return Unavailable(message, _TRY_AGAIN_LATER_S if code == _TRY_AGAIN_LATER else 0.0)


def _options(api_key: str | None) -> dict[str, Any]:
    return {
        "additional_headers": {"Authorization": f"Bearer {api_key}"} if api_key else None,
        "compression": None,  # base64 audio hardly shrinks, and packing it takes time
        "open_timeout": None,  # the first event is waited for in the same time
        "max_size": MAX_EVENT_BYTES,
        "ping_interval": PING_INTERVAL_S,
        "ping_timeout": PING_TIMEOUT_S,
        "close_timeout": CLOSE_TIMEOUT_S,
        "logger": _log,
    }


async def _first_event(url: str, dial: connect, timeout_s: float) -> tuple[ClientConnection, Event]:
    socket = None
    try:
        async with asyncio.timeout(timeout_s):
            socket = await dial
            return socket, Event.parse(await socket.recv())
    except BaseException as error:
        if socket is not None:
            socket.transport.abort()
        if reason := _reason(error, url, timeout_s):
            raise reason from error
        raise


def _reason(error: BaseException, url: str, timeout_s: float) -> ParleyError | None:
    """Why there is no connection to `url`; None if that is not what `error` is about."""
    match error:
        case ConnectionClosed():
            return broken(error)
        case InvalidStatus():
            return _refused(error, url)
        case TimeoutError():
            return Unavailable(f"{url} did not answer in {timeout_s} s")
        case OSError() | EOFError():
            return Unavailable(f"no server answers at {url}: {error}")
        case InvalidHandshake():
            return Unavailable(f"{url} is not a WebSocket server: {error}")
    return None


def _refused(error: InvalidStatus, url: str) -> ParleyError:
    """An HTTP refusal in a few words: the status, and what the server says of it."""
    status = error.response.status_code
    try:
        phrase = f"HTTP {status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        phrase = f"HTTP {status}"
    later = error.response.headers.get("Retry-After", "")
    retry_after_s = float(later) if later.isdecimal() else 0.0
    if retry_after_s:
        phrase += f", to be tried again in {retry_after_s:g} s"
    said = (error.response.body or b"").decode(errors="replace").strip()
    message = f"{url} refused: {phrase} ({said[:200]})" if said else f"{url} refused: {phrase}"
    if status < 500 and status != http.HTTPStatus.TOO_MANY_REQUESTS:
        return ParleyError(message)
    return Unavailable(message, retry_after_s)
