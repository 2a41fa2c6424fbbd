"""`parley bench`: the load generator, which is a program of its own."""

import subprocess
import sys

import typer


def bench(context: typer.Context) -> None:
    """Measures a server under load as its clients hear it: `parley bench --help` says how."""
    # It imports everything and the command line nothing, so it runs beside it.
    done = subprocess.run([sys.executable, "-P", "-m", "bench.load", *context.args], check=False)
    raise typer.Exit(done.returncode)
