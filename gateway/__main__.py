"""Runs one gateway: `python -m gateway`."""

import contextlib
import signal
import sys

import uvicorn

from gateway.app import create_app
from shared import logs
from shared.settings import Settings, settings

# An append of 15 MiB of audio is the most that the Realtime protocol allows.
_MOST_MESSAGE_BYTES = 16 * 2**20


def server(config: Settings) -> uvicorn.Server:
    """The gateway's server, not yet running."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            host=config.host,
            port=config.port,
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="websockets-sansio",
            ws_max_size=_MOST_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            timeout_graceful_shutdown=10,
        )
    )


def main() -> None:
    config = settings()
    logs.set_up("gateway", config.log_level)
    gateway = server(config)
    # uvicorn raises the signal again once it has stopped in good order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        gateway.run()
    if not gateway.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
