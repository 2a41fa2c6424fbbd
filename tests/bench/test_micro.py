"""The microbenchmarks run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MICRO = ROOT / "bench/micro"


@pytest.mark.parametrize("file", sorted(path.name for path in MICRO.glob("test_*.py")))
def test_each_runs_once(file: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(MICRO / file), "--benchmark-disable"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
