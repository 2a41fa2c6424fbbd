"""What a client shows at the door: its key, and which page it speaks for. No I/O."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from gateway.access.denied import Denied
from shared.loopback import is_loopback
from shared.settings import Settings

# Hugging Face's clients send X-HF-Authorization to Spaces, whose proxy keeps it to itself.
_HEADERS = ("authorization", "x-hf-authorization")
# A browser can set no header of a WebSocket, so OpenAI's clients put the key there.
_SUBPROTOCOL = "openai-insecure-api-key."


def credentials(connection: HTTPConnection) -> Iterator[str]:
    """Every key that came with a request: behind a proxy that authenticates, one is the proxy's."""
    for name in _HEADERS:
        for value in connection.headers.getlist(name):
            scheme, _, key = value.partition(" ")
            if scheme.lower() == "bearer" and key.strip():
                yield key.strip()
    for offered in connection.scope.get("subprotocols") or []:
        if offered.startswith(_SUBPROTOCOL):
            yield offered.removeprefix(_SUBPROTOCOL)


def check_page(connection: HTTPConnection, settings: Settings) -> None:
    """Keeps out other people's web pages in the user's browser.

    Browsers name a page's origin in every WebSocket handshake and let no page forge it. Where no
    key is asked for, a page may also have its own name resolve to this machine (DNS rebinding):
    then the request's host is that name, and not one of the loopback interface.

    Raises:
        Denied: the page may not.
    """
    host = connection.headers.get("host", "")
    if not (settings.api_keys or settings.keyless) and not is_loopback(_name(host)):
        raise Denied(
            403, "without API keys, the server's address must be a loopback one", "invalid_host"
        )
    origin = connection.headers.get("origin")
    if origin is None or {"*", origin} & {*settings.origins}:
        return
    if _authority(origin) != host.lower():
        raise Denied(
            403,
            "pages of this origin may not connect: PARLEY_ORIGINS names those that may",
            "invalid_origin",
        )


def _authority(origin: str) -> str | None:
    """Host and port of an origin; None if it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _name(host: str) -> str:
    """The name or address in a Host header."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
