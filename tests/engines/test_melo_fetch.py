"""What fetches the front-ends' data for an image, with a hub that serves the data of a test."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.engines import melo_checkpoint

pytestmark = [pytest.mark.melo_engine, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
COMMIT = "0" * 40
FRENCH = "dbmdz/bert-base-french-europeana-cased"
CHECK = "from workers.tts.engines.melo_data import check; print(check(['FR']))"


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's HTTP interface that its library downloads a repository with."""

    def __init__(self, folder: Path, served: list[str], *rest: object) -> None:
        self.folder, self.served = folder, served
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/models/{FRENCH}"):
            names = [{"rfilename": file.name} for file in self.folder.iterdir()]
            self._answer(json.dumps({"id": FRENCH, "sha": COMMIT, "siblings": names}).encode())
            return
        name = path.removeprefix(f"/{FRENCH}/resolve/{COMMIT}/")
        assert "/" not in name, path
        if self.command == "GET":
            self.served.append(name)
        self._answer((self.folder / name).read_bytes())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub with `folder` as its only repository, and the files it gave."""
    served: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, served)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", served
        finally:
            server.shutdown()
            thread.join()


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "0", **variables},
        text=True,
        capture_output=True,
        timeout=240,
    )


def test_one_languages_data_is_fetched_and_found(tmp_path: Path) -> None:
    made = Path(melo_checkpoint.use_front_ends()["HF_HUB_CACHE"])
    folder = made / f"models--{FRENCH.replace('/', '--')}/snapshots/0"
    (folder / "tf_model.h5").write_text("another library's weights")
    cache = str(tmp_path / "hub")
    with hub(folder) as (address, served):
        fetched = run("deploy/melo/fetch_data.py", "FR", HF_ENDPOINT=address, HF_HUB_CACHE=cache)
    assert fetched.returncode == 0, fetched.stderr
    assert {"config.json", "vocab.txt", "pytorch_model.bin"} <= {*served}
    assert "tf_model.h5" not in served
    found = run("-c", CHECK, HF_HUB_CACHE=cache)
    assert found.stdout.strip() == str((folder / "pytorch_model.bin").stat().st_size), found.stderr
    assert (tmp_path / "hub/version.txt").read_text() == "1"


def test_an_unknown_language_is_refused() -> None:
    asked = run("deploy/melo/fetch_data.py", "DE")
    assert asked.returncode == 2
    assert "languages must be of EN, ES, FR, ZH, JP, KR, not DE" in asked.stderr
