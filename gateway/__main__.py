"""Runs one gateway: `python -m gateway`."""

import contextlib
import logging
import signal
import sys

import uvicorn

from gateway.access.bounds import Bounds
from gateway.app import create_app
from shared import logs
from shared.garbage import settle
from shared.metrics.serving import serving
from shared.registry import CannotStart
from shared.settings import INVALID, Settings, explained, settings

# The protocol allows an append of 15 MiB, which is 20 MiB of base64. What is a little more gets an
# error that says so, what is more than this ends the connection.
_MOST_MESSAGE_BYTES = 24 * 2**20

# How often a ping goes out, and how long its pong may take.
_PING_S = 20.0

log = logging.getLogger(__name__)


def server(config: Settings) -> uvicorn.Server:
    """The gateway's server, not yet running."""
    bounds = Bounds(config)
    return uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            host=config.host,
            port=config.port,
            log_config=None,
            access_log=False,
            lifespan="on",
            http=bounds.http,
            ws=bounds.websocket,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
            ws_max_size=_MOST_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=_PING_S,
            ws_ping_timeout=_PING_S,
            timeout_graceful_shutdown=10,
        )
    )


def main() -> None:
    # uvicorn raises the signal again once it has stopped in good order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        config = settings()
    except INVALID as error:
        sys.exit(f"gateway: {explained(error)}")
    if config.problem:
        sys.exit(f"gateway: {config.problem}")
    logs.set_up("gateway", config.log_level, config.log_format)
    _say_who_gets_in(config)
    gateway = server(config)
    try:
        with contextlib.suppress(KeyboardInterrupt), serving(config):
            settle()
            gateway.run()
    except CannotStart as error:
        sys.exit(f"gateway: {error}")
    if not gateway.started:
        sys.exit(1)


def _say_who_gets_in(config: Settings) -> None:
    if config.api_keys:
        log.info("clients need one of %d API keys", len(config.api_keys))
    elif config.keyless:
        log.warning(
            "PARLEY_KEYLESS: whoever reaches %s:%d gets in, so a proxy must see to it who does",
            config.host,
            config.port,
        )
    else:
        log.info("there are no API keys: only programs of this machine get in")


if __name__ == "__main__":
    main()
