"""Where this machine's gateway listens, and who is there."""

import socket
import ssl
import urllib.error
import urllib.request
from typing import Literal

from shared.settings import Settings

_TIMEOUT_S = 5


def local_address(config: Settings) -> str:
    """The gateway's `host:port` as seen from this machine."""
    host = "127.0.0.1" if config.host in {"0.0.0.0", "::", ""} else config.host
    return f"{f'[{host}]' if ':' in host else host}:{config.port}"


def local_url(config: Settings, scheme: Literal["http", "ws"] = "http") -> str:
    """The gateway's address as seen from this machine: https or wss where it has a certificate."""
    return f"{scheme}{'s' if config.tls_cert else ''}://{local_address(config)}"


def answers(url: str) -> bool:
    """Whether a server of this machine answers a request for `url` with 200."""
    # The certificate is for the name that others know this machine by, and no secret is sent.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # A proxy from the environment has no business with a process on this machine.
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with direct.open(url, timeout=_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def check_free(host: str, port: int) -> None:
    """Binds `host`:`port` for a moment.

    Raises:
        OSError: it is taken, or not an address of this machine.
    """
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
