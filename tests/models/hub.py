"""A Hugging Face hub on this machine that has a few models."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "owner/model"
FILES = {"config.json": b"{}", "weights.bin": bytes(3_000_000)}
VOICES = "rhasspy/piper-voices"
SIWIS = {
    "fr_FR-siwis-medium.onnx": b"a model",
    "fr_FR-siwis-medium.onnx.json": b"{}",
}
REPOSITORIES = {
    MODEL: FILES,
    VOICES: {
        **{f"fr/fr_FR/siwis/medium/{name}": data for name, data in SIWIS.items()},
        "fr/fr_FR/siwis/medium/MODEL_CARD": b"about it",
        "en/en_US/amy/low/en_US-amy-low.onnx": b"another model",
    },
}
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
        for name, files in REPOSITORIES.items():
            resolved = f"/{name}/resolve/{_COMMIT}/"
            if path == f"/api/models/{name}/revision/main":
                siblings = [{"rfilename": file} for file in files]
                return self._send({"sha": _COMMIT, "id": name, "siblings": siblings}, with_body)
            if path.startswith(f"/api/models/{name}/tree/"):
                rows = [
                    {"type": "file", "path": file, "size": len(data), "oid": _etag(data)}
                    for file, data in files.items()
                ]
                return self._send(rows, with_body)
            if path.startswith(resolved) and path.removeprefix(resolved) in files:
                return self._send(files[path.removeprefix(resolved)], with_body)
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
