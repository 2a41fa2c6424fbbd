"""A gateway with a certificate and keys, and the command line in front of it."""

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from openai import AsyncOpenAI
from websockets.asyncio.client import connect

from cli.address import answers
from shared.api_keys import ApiKey, digest
from tests.gateway.access import ADA, bearer
from tests.support.command import parley
from tests.support.up import Up, free_port

QUESTION = Path(__file__).parents[1] / "data" / "question.wav"


@dataclass
class Secure:
    """A running `parley up`, and the authority that signed its certificate."""

    up: Up
    authority: Path

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.up.port}"

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs `parley` as somebody who trusts that authority."""
        return parley(*arguments, SSL_CERT_FILE=str(self.authority), **variables)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    server.private_key_pem.write_to_path(str(folder / "key.pem"))
    for certificate in server.cert_chain_pems:
        certificate.write_to_path(str(folder / "cert.pem"), append=True)
    keys = ApiKey(name="ada", sha256=digest(ADA)).model_dump_json(exclude_none=True)
    port = free_port()
    up = Up(
        folder / "data",
        port,
        PARLEY_TLS_CERT=str(folder / "cert.pem"),
        PARLEY_TLS_KEY=str(folder / "key.pem"),
        PARLEY_API_KEYS=f"[{keys}]",
    )
    try:
        up.wait_for(lambda: answers(f"https://127.0.0.1:{port}/ready"))
        up.wait_for(lambda: "Parley is ready" in up.log.read_text())
        yield Secure(up, folder / "authority.pem")
    finally:
        up.process.terminate()
        up.process.wait()


def test_up_says_where_it_is(secure: Secure) -> None:
    said = secure.up.log.read_text()
    assert f"https://127.0.0.1:{secure.up.port}" in said
    assert f"wss://127.0.0.1:{secure.up.port}/v1/realtime" in said
    assert ADA not in said
    assert digest(ADA) not in said


async def test_clients_speak_tls(secure: Secure) -> None:
    trusting = ssl.create_default_context(cafile=str(secure.authority))
    async with connect(
        f"{secure.url}/v1/realtime", ssl=trusting, additional_headers=bearer(ADA)
    ) as socket:
        assert "session.created" in str(await socket.recv())


async def test_the_official_client_speaks_tls(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.authority))
    client = AsyncOpenAI(base_url=f"https://localhost:{secure.up.port}/v1", api_key=ADA)
    async with client.realtime.connect(model="parley") as connection:
        assert (await connection.recv()).type == "session.created"


def test_say_with_a_key(secure: Secure, tmp_path: Path) -> None:
    asked = ("say", str(QUESTION), "--url", secure.url, "-o", str(tmp_path / "answer.wav"))
    done = secure.run(*asked, PARLEY_API_KEY=ADA)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answer.wav").exists()
    assert secure.run(*asked, "--api-key", ADA).returncode == 0
    without = secure.run(*asked)
    assert without.returncode == 1
    assert "401" in without.stderr
    assert "API key is needed" in without.stderr


def test_the_other_commands_find_it(secure: Secure) -> None:
    port = str(secure.up.port)
    done = secure.run("restart", "gateway", "--port", port)
    assert done.returncode == 0, done.stderr
    assert answers(f"https://127.0.0.1:{port}/health")
    assert f"listening on port {port}" not in done.stdout
