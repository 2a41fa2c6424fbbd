"""The page's modules without a browser: node's own tests of them, and a session of their own."""

import json
import subprocess
from pathlib import Path

import pytest

from shared import api_keys
from tests.support.up import running

_JS = Path(__file__).parent / "js"
_NODE = _JS.parent.parent.parent / ".clients" / "light" / "bin" / "node"


def node(*arguments: str | Path) -> str:
    """What node prints."""
    assert _NODE.exists(), f"{_NODE} is missing: run `make test` once"
    command = [_NODE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("tests", sorted(_JS.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_module(tests: Path) -> None:
    node("--test", "--test-timeout=30000", tests)


def test_a_session_without_the_page(tmp_path: Path) -> None:
    key = api_keys.fresh()
    keys = json.dumps([{"name": "tests", "sha256": api_keys.digest(key)}])
    with running(tmp_path / "data", "instant", PARLEY_API_KEYS=keys) as up:
        seen = json.loads(node(_JS / "module.mjs", f"http://127.0.0.1:{up.port}", key))
    assert seen["refused"] == {"status": 401, "message": "the API key is not valid"}
    assert seen["states"] == ["connecting", "connected", "over"]
    assert seen["answer"] == "You said: How do you do. That is all I know about it."
    assert seen["samples"] > 0
    assert "llm_first_token" in seen["marks"]
