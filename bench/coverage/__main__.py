"""Writes docs/realtime-coverage.md: `python -m bench.coverage`."""

import asyncio
import hashlib
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.chaos.system import running
from bench.coverage.asking import Peer, joined
from bench.coverage.fields import at
from bench.coverage.probes import ITEMS, probes
from bench.coverage.report import Field, Findings, page
from bench.coverage.turns import converse
from cli.broker import find_server

_PAGE = Path("docs/realtime-coverage.md")
_KEY = "coverage"
# Fields of a response that the protocol shows again, and where; the others show in what it says.
_SHOWN = {
    "audio.output.format.type": "audio.output.format.type",
    "audio.output.format.rate": "audio.output.format.rate",
    "audio.output.voice": "audio.output.voice",
    "max_output_tokens": "max_output_tokens",
    "metadata": "metadata",
    "output_modalities": "output_modalities",
}


def main(
    check: Annotated[bool, typer.Option(help="Compare with the page instead.")] = False,
) -> None:
    """Asks a server for all there is in the protocol, and writes down what it does."""
    findings = asyncio.run(find())
    if findings.ignored:
        sys.exit(f"neither honoured nor refused, or not accounted for: {findings.ignored}")
    found = page(findings, version("openai"))
    if not check:
        _PAGE.write_text(found)
    elif found != _PAGE.read_text():
        sys.exit(f"{_PAGE} is not what the server does: run `python -m bench.coverage`")


async def find() -> Findings:
    """What a server with engines that need no models does."""
    findings = Findings()
    entry = {
        "name": "coverage",
        "sha256": hashlib.sha256(_KEY.encode()).hexdigest(),
        "requests_per_s": 1000,
    }
    settings = {"profile": "instant", "api_keys": json.dumps([entry])}
    with tempfile.TemporaryDirectory(prefix="parley-coverage-") as folder:
        async with running(Path(folder), find_server(), 1, 1, sys.exit, **settings) as system:
            url = f"ws://127.0.0.1:{system.ports[0]}"
            await _ask_all(url, findings)
    return findings


async def _ask_all(url: str, findings: Findings) -> None:
    seen = findings.seen
    headers = {"Authorization": f"Bearer {_KEY}"}
    await converse(url, seen, headers)
    for kind, query in {"realtime": "", "transcription": "?intent=transcription"}.items():
        async with joined(url, seen, query, headers) as peer:
            findings.fields[kind] = await _session_fields(peer, kind)
    async with joined(url, seen, headers=headers) as peer:
        findings.fields["response"] = await _response_fields(peer)
        findings.items = await _items(peer)


async def _session_fields(peer: Peer, kind: str) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for path, value, session in probes(kind):
        answer = await peer.ask(
            "session.update", "session.updated", session={"type": kind, **session}
        )
        note(found.setdefault(path, Field()), value, answer, at(answer.get("session"), path))
    return found


async def _response_fields(peer: Peer) -> dict[str, Field]:
    found: dict[str, Field] = {}
    written = {"type": "realtime", "output_modalities": ["text"]}  # a voice that is heard stays
    await peer.ask("session.update", "session.updated", session=written)
    for path, value, response in probes("response"):
        answer = await peer.ask("response.create", "response.created", response=response)
        shown = answer.get("response")
        if shown is not None:
            await peer.until("response.done")
        echo = at(shown, _SHOWN[path]) if path in _SHOWN else value
        if path == "conversation" and shown is not None:
            echo = "auto" if shown["conversation_id"] else "none"
        note(found.setdefault(path, Field()), value, answer, echo)
    return found


async def _items(peer: Peer) -> dict[str, str]:
    found = {}
    for name, item in ITEMS.items():
        answer = await peer.ask("conversation.item.create", "conversation.item.added", item=item)
        refused = answer["type"] == "error"
        found[name] = f"refused: {answer['error']['message']}" if refused else "taken"
    return found


def note(found: Field, value: Any, answer: dict[str, Any], echo: Any) -> None:
    """What came of one value: an error, or the value as it is in effect now."""
    if answer["type"] == "error":
        found.refused.append((value, answer["error"]["message"]))
    elif echo is None and value is not False:  # which asks for nothing
        found.ignored.append(value)
    else:
        found.honoured.append(value)


if __name__ == "__main__":
    typer.run(main)
