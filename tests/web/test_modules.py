"""The page's modules that need no browser, by node's own tests."""

import subprocess
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_NODE = _HERE.parent.parent / ".clients" / "light" / "bin" / "node"


@pytest.mark.parametrize(
    "tests", sorted((_HERE / "js").glob("*.test.mjs")), ids=lambda path: path.stem
)
def test_module(tests: Path) -> None:
    assert _NODE.exists(), f"{_NODE} is missing: run `make test` once"
    done = subprocess.run(
        [_NODE, "--test", tests], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
