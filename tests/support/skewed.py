"""Runs a module with a clock that is wrong: `python -m tests.support.skewed 3600 workers.tts`."""

import runpy
import sys
import time


def shift(seconds: int) -> None:
    """Makes this process's wall clock run ahead of the others'."""
    time_s, time_ns = time.time, time.time_ns
    time.time = lambda: time_s() + seconds
    time.time_ns = lambda: time_ns() + seconds * 10**9


if __name__ == "__main__":
    shift(int(sys.argv[1]))
    runpy.run_module(sys.argv[2], run_name="__main__", alter_sys=True)
