"""The page of docs/page.md, on somebody else's server, in a real browser."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.docs.pages import ROOT, fenced
from tests.support.up import Up, free_port, running
from tests.web.browser import recording, visiting
from tests.web.conftest import KEYS, ephemeral_key, page_of

[EXAMPLE] = fenced(ROOT / "docs" / "page.md", "html")
PARLEY = "https://parley.example"


@pytest.fixture(scope="module")
def port() -> int:
    """Where pages are served that may talk to Parley."""
    return free_port()


@pytest.fixture(scope="module")
def parley(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that asks for keys, and whose language model makes long answers."""
    settings = {
        "PARLEY_LLM_ENGINE": "instant",
        "PARLEY_API_KEYS": KEYS,
        "PARLEY_ORIGINS": json.dumps([f"http://127.0.0.1:{port}"]),
    }
    with running(tmp_path_factory.mktemp("embedding") / "data", "cpu", **settings) as up:
        yield up


@contextmanager
def somebody_elses(parley: Up, port: int) -> Iterator[str]:
    """A server with the page, which gives ephemeral keys to whoever asks; yields its address."""
    example = EXAMPLE.replace(PARLEY, page_of(parley).rstrip("/"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages = {"/": lambda: example, "/parley-key": lambda: ephemeral_key(parley)}
            page = pages.get(self.path)
            self.send_response(200 if page else 204)
            self.send_header("Content-Type", "text/html" if self.path == "/" else "text/plain")
            self.end_headers()
            if page:
                self.wfile.write(page().encode())

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            serving.join()


def test_a_page_of_another_origin(parley: Up, port: int, tmp_path: Path) -> None:
    """It says the question over and over, and so interrupts the long answers."""
    microphone = recording(tmp_path, after_s=3)
    with (
        somebody_elses(parley, port) as url,
        visiting(url, microphone, again=True) as visit,
    ):
        visit.button("Talk").click()
        expect(visit.page.get_by_role("status")).to_have_text("connected")
        expect(visit.page.locator("#words")).to_contain_text("You said:")
        visit.hear(1.0)
        visit.until("conversation.item.truncated", lambda event: event["audio_end_ms"] > 500)
        visit.until("response.done", lambda event: event["response"]["status"] == "cancelled")
        assert visit.problems == []
        assert visit.of("error") == []


def test_a_page_of_an_origin_that_is_not_named(parley: Up, tmp_path: Path) -> None:
    microphone = recording(tmp_path, after_s=3)
    with somebody_elses(parley, 0) as url, visiting(url, microphone) as visit:
        visit.button("Talk").click()
        assert any("blocked by CORS policy" in problem for problem in visit.problems)
        expect(visit.page.get_by_role("status")).to_be_empty()
        assert visit.events == []
