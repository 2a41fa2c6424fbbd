"""The engine that docs/engines.md adds passes its stage's suite, as the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "engines.md"

# What somebody who follows the page changes in files that are there, done when pytest starts.
PLUGIN = """
import json
from pathlib import Path

import shared.profiles
import workers.tts.engines
from tests.engines import cases

workers.tts.engines.__path__.append({folder!r})
shared.profiles.MODELS.update({{{model}}})
exec({function!r}, workers.tts.engines.__dict__)
exec("ENGINES.update({{" + {line!r} + "}})", workers.tts.engines.__dict__)
cases.json = json
exec({prepare!r}, cases.__dict__)
cases.CASES["tts"] += eval("(" + {case!r} + ")", cases.__dict__)
"""


def test_the_example_passes_the_suite(tmp_path: Path) -> None:
    section = PAGE.read_text("utf-8").partition("## Adding an engine")[2]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    engine, function, line, model, prepare, case = blocks
    (tmp_path / "tones.py").write_text(engine, "utf-8")
    plugin = PLUGIN.format(
        folder=str(tmp_path), function=function, line=line, model=model, prepare=prepare, case=case
    )
    (tmp_path / "as_the_page_says.py").write_text(plugin, "utf-8")
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    suite = [str(Path(__file__).with_name(f"test_{name}.py")) for name in ("tts", "registry")]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "as_the_page_says", "-k", "tones", *suite],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    (passed,) = re.findall(r"(\d+) passed", ran.stdout)
    assert int(passed) > 20
