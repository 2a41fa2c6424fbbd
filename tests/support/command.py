"""The `parley` command, run as a person would run it."""

import os
import subprocess
import sys


def parley(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `parley` with these settings and no others of this environment's."""
    inherited = {name: value for name, value in os.environ.items() if name[:7] != "PARLEY_"}
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import app; app(prog_name='parley')", *arguments],
        env={**inherited, "COLUMNS": "200", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
