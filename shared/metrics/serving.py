"""Where a process's metrics are read: `PARLEY_METRICS_PORT`, without a key."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from shared.registry import CannotStart
from shared.settings import Settings


@contextmanager
def serving(config: Settings) -> Iterator[None]:
    """Serves this process's metrics from a thread, if the settings name a port.

    Raises:
        CannotStart: nothing can listen there.
    """
    if config.metrics_port is None:
        yield
        return
    try:
        server, thread = start_http_server(config.metrics_port, config.metrics_host)
    except OSError as error:
        raise CannotStart(
            f"PARLEY_METRICS_PORT: cannot listen on port {config.metrics_port} of"
            f" {config.metrics_host} ({error.strerror})"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
