"""Runs the steps, one after the other, each in processes of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.performance.machine import commit, machine
from bench.performance.results import Results, Taken
from bench.performance.steps import Step

ROOT = Path(__file__).parent.parent.parent

_PATIENCE = 3.0  # times what a step takes usually
_STOPS_S = 30.0  # a tool that is interrupted stops its servers first
_LISTEN_S = 1.0  # to whether the machine is quiet


class Failed(Exception):
    """A step left no result; the message says which, and the end of what it said."""


def measure(steps: Sequence[Step], results: Results) -> list[str]:
    """Runs `steps`, keeps what they write, and returns what failed: one failure stops no other."""
    here, state = machine(), commit(ROOT)
    print(f"{len(steps)} measurements, about {sum(step.minutes for step in steps):.0f} minutes")
    failures = []
    for number, step in enumerate(steps, 1):
        said = f"[{number}/{len(steps)}] {step.name}, about {step.minutes:g} min:"
        print(said, end=" ", flush=True)
        others = psutil.cpu_percent(interval=_LISTEN_S) / 100
        begun_s = time.monotonic()
        try:
            _run(step, results.path(step.name))
        except Failed as failure:
            print("failed")
            failures.append(str(failure))
            continue
        seconds = time.monotonic() - begun_s
        print(f"{seconds / 60:.1f} min", f"(others used {others:.0%} of the processors)")
        today = datetime.now(UTC).date().isoformat()
        results.note(here, step.name, Taken(today, state, seconds, others))
    return failures


def _run(step: Step, result: Path) -> None:
    """Runs one to its end. Its exit code says no more than its result does: the load generator's is
    1 where turns were not answered, and that is a finding."""
    result.unlink(missing_ok=True)
    log = result.with_suffix(".log")
    command = (sys.executable, "-m", step.module, *step.arguments, step.keep, str(result))
    with log.open("w") as said:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which then stops the tool once
        )
        try:
            process.wait(_PATIENCE * 60 * step.minutes)
        except subprocess.TimeoutExpired:
            raise Failed(f"{step.name} was not done after {_PATIENCE:g} times its time") from None
        finally:
            _stop(process)
    if not result.exists():
        raise Failed(f"{step.name} left no result:\n{log.read_text()[-2000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOPS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
