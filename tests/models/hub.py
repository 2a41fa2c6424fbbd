"""A Hugging Face hub on this machine that has one model."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "owner/model"
FILES = {"config.json": b"{}", "weights.bin": bytes(3_000_000)}
_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """What it was asked for, and the tokens that came along."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: list[str] = []
        self.tokens: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.server.paths.append(self.path)
        self.server.tokens.add(self.headers["Authorization"])
        path = self.path.partition("?")[0]
        resolved = f"/{MODEL}/resolve/{_COMMIT}/"
        if path == f"/api/models/{MODEL}/revision/main":
            siblings = [{"rfilename": name} for name in FILES]
            self._send({"sha": _COMMIT, "id": MODEL, "siblings": siblings}, with_body)
        elif path.startswith(f"/api/models/{MODEL}/tree/"):
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                for name, data in FILES.items()
            ]
            self._send(rows, with_body)
        elif path.startswith(resolved) and path.removeprefix(resolved) in FILES:
            self._send(FILES[path.removeprefix(resolved)], with_body)
        else:
            self.send_error(404)

    def _send(self, answer: object, with_body: bool) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_etag(body)}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@contextmanager
def running() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
