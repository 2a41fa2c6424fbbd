"""Runs one VAD worker: `python -m workers.vad`."""

from shared.worker import run_worker
from workers.vad.engines import create
from workers.vad.worker import start

if __name__ == "__main__":
    run_worker("vad", create, start)
