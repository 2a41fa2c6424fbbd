"""How the gateway serves the page: to everybody, strictly, and afresh after an upgrade."""

import asyncio
import http.client
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import gateway.web
from tests.gateway.access import keyed
from tests.gateway.running import Gateway
from tests.gateway.running import gateway as serving

STATIC = Path(gateway.web.__file__).parent / "static"


@pytest.fixture
async def locked(redis_url: str) -> AsyncIterator[Gateway]:
    """A gateway that asks for keys."""
    async with serving(keyed(redis_url)) as running:
        yield running


async def ask(
    served: Gateway, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """The answer and its body; the path goes out as it is."""

    def fetch() -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(served.host)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    return await asyncio.to_thread(fetch)


async def test_everybody_gets_the_page_and_nothing_more(locked: Gateway) -> None:
    answer, body = await ask(locked, "/")
    assert answer.status == 200
    assert body == (STATIC / "index.html").read_bytes()
    answer, _ = await ask(locked, "/v1/voices")
    assert answer.status == 401


async def test_every_file_may_load_from_here_alone(locked: Gateway) -> None:
    kinds = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    for file in STATIC.iterdir():
        answer, body = await ask(locked, f"/web/{file.name}")
        assert answer.status == 200
        assert body == file.read_bytes()
        policy = dict(
            directive.split(" ", 1)
            for directive in answer.headers["Content-Security-Policy"].split("; ")
        )
        assert policy.pop("frame-ancestors") == "'none'"
        assert set(policy.values()) == {"'self'", "'none'"}
        assert policy["default-src"] == "'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert kinds[file.suffix] in answer.headers["Content-Type"]


async def test_a_file_that_has_not_changed_is_not_sent_again(locked: Gateway) -> None:
    answer, _ = await ask(locked, "/web/app.js")
    assert answer.headers["Cache-Control"] == "no-cache"
    again, body = await ask(locked, "/web/app.js", **{"If-None-Match": answer.headers["ETag"]})
    assert (again.status, body) == (304, b"")


async def test_only_the_head_of_a_file(locked: Gateway) -> None:
    answer, body = await ask(locked, "/", "HEAD")
    assert (answer.status, body) == (200, b"")


async def test_nothing_else_is_served(locked: Gateway) -> None:
    for path in (
        "/web/nothing.js",
        "/web/",
        "/web/../__init__.py",
        "/web/%2e%2e/__init__.py",
        "/web/..%2f__init__.py",
        "/web//etc/passwd",
        "/web/%00",
        "/index.html",
    ):
        answer, body = await ask(locked, path)
        assert answer.status == 404
        assert body.startswith(b'{"error":')


async def test_files_take_no_posts(locked: Gateway) -> None:
    answer, _ = await ask(locked, "/web/app.js", "POST")
    assert answer.status == 405


async def test_files_are_no_websockets(locked: Gateway) -> None:
    with pytest.raises(InvalidStatus):
        await connect(f"ws://{locked.host}/web/app.js")
