"""A whole Parley that lets in who has a key, for clients that know nothing of Parley."""

import json
from collections.abc import Iterator

import pytest

from shared import api_keys
from tests.clients.running import Server, tls
from tests.support.up import running

# A browser's key is made of the server's own; both are what clients are given here.
KEY = api_keys.fresh()
KEYS = json.dumps([{"name": "tests", "sha256": api_keys.digest(KEY)}])


@pytest.fixture(scope="session")
def parley(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`parley up` with engines that take no time."""
    data = tmp_path_factory.mktemp("clients") / "data"
    with running(data, "instant", PARLEY_API_KEYS=KEYS) as up:
        yield Server(f"http://127.0.0.1:{up.port}/v1", KEY)
        assert "error" not in up.log.read_text()


@pytest.fixture(scope="session")
def parley_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same behind TLS, with a certificate of an authority of its own."""
    folder = tmp_path_factory.mktemp("clients_tls")
    files = tls(folder)
    settings = {"PARLEY_TLS_CERT": str(files.certificate), "PARLEY_TLS_KEY": str(files.key)}
    with running(
        folder / "data", "instant", files.authority, PARLEY_API_KEYS=KEYS, **settings
    ) as up:
        yield Server(f"https://localhost:{up.port}/v1", KEY, files.authority)
        assert "error" not in up.log.read_text()
