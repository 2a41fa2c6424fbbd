"""Clients in processes and environments of their own, which `make test` and `make clients` make."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

DEADLINE_S = 60
_HERE = Path(__file__).parent
_ENVIRONMENTS = _HERE.parent.parent / ".clients"

Seen = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """Where Parley is, a key that lets in, and the authority of its certificate if it has one."""

    url: str
    key: str
    authority: Path | None = None


@dataclass(frozen=True)
class Tls:
    """Files in PEM."""

    certificate: Path
    key: Path
    authority: Path


def tls(folder: Path) -> Tls:
    """A certificate for `localhost`, by an authority that nobody else knows."""
    files = Tls(folder / "certificate.pem", folder / "key.pem", folder / "authority.pem")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    for index, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(files.certificate), append=index > 0)
    issued.private_key_pem.write_to_path(str(files.key))
    authority.cert_pem.write_to_path(str(files.authority))
    return files


def python(environment: str, script: str, server: Server) -> Seen:
    """What the client in `scripts/<script>` saw; `environment` is its interpreter's."""
    return _run(
        [_ENVIRONMENTS / environment / "bin" / "python", _HERE / "scripts" / script], server
    )


def javascript(script: str, server: Server) -> Seen:
    """What the client in `js/<script>` saw."""
    return _run([_ENVIRONMENTS / "light" / "bin" / "node", _HERE / "js" / script], server)


def _run(command: list[Path], server: Server) -> Seen:
    """Runs a client; what it prints last is JSON."""
    assert command[0].exists(), f"{command[0]} is missing: run `make clients` once"
    inherited = {name: value for name, value in os.environ.items() if name[:6] != "OPENAI"}
    trusted = {"NODE_EXTRA_CA_CERTS": str(server.authority)} if server.authority else {}
    done = subprocess.run(
        command,
        env={
            **inherited,
            **trusted,
            "PARLEY_URL": server.url,
            "PARLEY_KEY": server.key,
            "PARLEY_DEADLINE_S": str(DEADLINE_S),
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S + 20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: Seen = json.loads(done.stdout.splitlines()[-1])
    return seen
