"""Real HTTP servers on loopback, and what can be wrong with one."""

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The base URL of a server that runs `app` until the end of the block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who connects before the server has begun waits for it
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join()


@dataclass
class Request:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Faulty:
    """An application that answers the next POST requests otherwise, and keeps them all."""

    app: ASGIApp
    faults: deque[ASGIApp] = field(default_factory=deque)
    posted: list[Request] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body = await _whole(receive)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.posted.append(Request(scope["path"], headers, body))
        answer = self.faults.popleft() if self.faults else self.app
        await answer(scope, _again(body, receive), send)


def replies(status: int, body: bytes = b"", **headers: str) -> ASGIApp:
    """Answers with that; underscores in the names of headers are hyphens."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await _begin(send, status, headers)
        await send({"type": "http.response.body", "body": body})

    return answer


def cut_off(body: bytes, **headers: str) -> ASGIApp:
    """Begins an answer and closes the connection in the middle of it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await _begin(send, 200, {**headers, "content_length": str(len(body) + 1_000)})
        await send({"type": "http.response.body", "body": body, "more_body": True})

    return answer


def repeats(
    piece: bytes, pause_s: float = 0.0, gone: threading.Event | None = None, **headers: str
) -> ASGIApp:
    """Sends a piece over and over until the client is gone, which `gone` tells."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await _begin(send, 200, headers)
        left = asyncio.ensure_future(_left(receive))
        while not left.done():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.wait({left}, timeout=pause_s)
        if gone is not None:
            gone.set()

    return answer


def silent(gone: threading.Event | None = None) -> ASGIApp:
    """Says nothing at all until the client is gone."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await _left(receive)
        if gone is not None:
            gone.set()

    return answer


@contextmanager
def talking_nonsense(sent: bytes) -> Iterator[str]:
    """The base URL of something that answers whoever connects with bytes, and hangs up."""

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed, as the block is at its end
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(sent)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


async def _begin(send: Send, status: int, headers: dict[str, str]) -> None:
    named = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": named})


async def _whole(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that was received once, then what comes after it."""
    pending = deque([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> dict[str, object]:
        return pending.popleft() if pending else dict(await receive())

    return again


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
