"""What microbenchmarks need: a loop like the processes' own, and a broker."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from cli.broker import Broker, bundled_server

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture
def run() -> Iterator[Run[Any]]:
    """Runs a coroutine to its end; all of one benchmark's on the same loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The embedded broker, in a process of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="parley-micro-") as folder,
        Broker(bundled_server()[0], Path(folder)) as running,
    ):
        yield running
