"""What tests of resuming share: a client, its session at a scripted server, and what it heard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from client import Event, Parley
from tests.client.realtime_server import Script, Session, realtime_server
from tests.stages import until

RESUMED = "parley.session.resumed"
SECOND = np.arange(1, 24_001).astype(np.int16)


def resumable(**fields: Any) -> Script:
    return Script(**{"resume_within_s": 60.0, **fields})


@contextlib.asynccontextmanager
async def talking(script: Script, **options: Any) -> AsyncIterator[tuple[Parley, Session]]:
    """A client, and its session at the server."""
    async with realtime_server(script) as url, Parley(url, **options) as client:
        yield client, script.sessions[0]


async def hear(client: Parley, last: Callable[[Event], bool]) -> list[Event]:
    """Events up to and including the first that is the `last`."""
    heard = []
    async with asyncio.timeout(20):
        async for event in client.events():
            heard.append(event)
            if last(event):
                return heard
    raise AssertionError(f"the events ended with {[event.type for event in heard]}")


def of_type(kind: str) -> Callable[[Event], bool]:
    return lambda event: event.type == kind


def unbroken(heard: list[Event], session: Session) -> bool:
    """Whether these are the session's events from the first on, each once and in order."""
    ids = [event["event_id"] for event in heard if event.type != RESUMED]
    return ids == [event["event_id"] for event in session.shown[: len(ids)]]


def cut(session: Session) -> None:
    session.connections[-1].cut()


async def lost(client: Parley) -> None:
    await until(lambda: not client.connected)


async def resumed(session: Session, connections: int = 2) -> None:
    await until(lambda: len(session.connections) == connections)
