"""What the benchmark of synthesis measures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.speech import LONG, SHORT, TOGETHER, Begun


def test_first_chunks_are_timed_alone_and_beside_long_segments(tmp_path: Path) -> None:
    result = tmp_path / "speech.json"
    command = (sys.executable, "-m", "bench.speech", "--rounds", "2", "--json", str(result))
    settings = {**os.environ, "PARLEY_TTS_ENGINE": "instant"}
    ran = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    begun = msgspec.convert(json.loads(result.read_text()), Begun, strict=False)
    for found in (begun.alone, begun.beside, begun.beside_three):
        assert found.count == 2 * len(SHORT)
    assert begun.long_first.count == begun.long_whole.count == 2
    assert begun.words <= 8 < len(LONG.split())
    assert tuple(begun.cpu_s) == TOGETHER
    assert "the same, beside three" in ran.stdout
