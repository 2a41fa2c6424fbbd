"""The client for programs without an event loop.

with Parley("ws://127.0.0.1:8080") as session:
    session.send_file("question.wav")
    answer = session.answer()
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from client import session
from client.errors import ParleyError
from client.events import Event

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[session.Parley, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Parley, P], T]:
    """A method of the asynchronous session, which its caller waits for."""

    @functools.wraps(method)
    def call(self: Parley, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(method(self._session, *args, **kwargs))

    return call


class Parley:
    """A session with a server: `with Parley(url) as session`.

    It is `client.Parley` with an event loop in a thread of its own, so the connection is kept up,
    and resumed, while the program does something else. Every method does what its namesake there
    does, waits for it and raises what it raises. Any thread may call any method; events go to
    whichever thread asks for them first. Ctrl-C interrupts a method that waits, and the session
    goes on until the block ends. What `stream_audio` is given is read in the session's own thread,
    and must not block.
    """

    def __init__(self, url: str, api_key: str | None = None, wait_s: float = 0.0) -> None:
        """As `client.Parley`.

        Raises:
            ParleyError: `url` is not an address.
        """
        self._session = session.Parley(url, api_key, wait_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beginning = Lock()
        self._open = ExitStack()

    @property
    def url(self) -> str:
        return self._session.url

    @property
    def id(self) -> str | None:
        """The session's id; None if the server gave it none."""
        return self._session.id

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, and not only a session that waits for one."""
        return self._session.connected

    def __enter__(self) -> Parley:
        """Connect. Raises as the asynchronous session does."""
        with ExitStack() as opening:
            self._loop = opening.enter_context(_event_loop())
            opening.callback(self._leave)
            self._wait(self._session.__aenter__())
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def close(self) -> None:
        """Leave; the server ends the session. Calling it again does nothing."""
        self._open.close()

    def events(self) -> Iterator[Event]:
        """What the server says, in order: see `client.Parley.events`."""
        while (event := self.receive()) is not None:
            yield event

    receive = _blocking(session.Parley.receive)
    answer = _blocking(session.Parley.answer)
    update = _blocking(session.Parley.update)
    send_audio = _blocking(session.Parley.send_audio)
    stream_audio = _blocking(session.Parley.stream_audio)
    send_file = _blocking(session.Parley.send_file)
    commit = _blocking(session.Parley.commit)
    clear = _blocking(session.Parley.clear)
    text = _blocking(session.Parley.text)
    returned = _blocking(session.Parley.returned)
    create_response = _blocking(session.Parley.create_response)
    cancel = _blocking(session.Parley.cancel)
    truncate = _blocking(session.Parley.truncate)
    retrieve = _blocking(session.Parley.retrieve)

    def _wait(self, method: Coroutine[Any, Any, T]) -> T:
        """What a method of the session returns or raises, in the session's own thread."""
        with self._beginning:
            if self._loop is None:
                method.close()
                raise ParleyError(
                    "no session: use `with Parley(url) as session`, and until its end"
                )
            running = asyncio.run_coroutine_threadsafe(method, self._loop)
        try:
            return running.result()
        finally:
            running.cancel()  # where the caller was interrupted

    def _leave(self) -> None:
        try:
            self._wait(self._session.close())
        finally:
            with self._beginning:  # whatever was begun by now is still waited for
                self._loop = None


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, which ends when all that it was given is done."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)  # their callers are told

    thread = Thread(target=asyncio.run, args=(serve(),), name="parley", daemon=True)
    thread.start()
    loop, over = started.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
