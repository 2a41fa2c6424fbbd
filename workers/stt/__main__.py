"""Runs one STT worker: `python -m workers.stt`."""

from shared.worker import run_worker
from workers.stt.engines import create, offers
from workers.stt.worker import start

if __name__ == "__main__":
    run_worker("stt", create, start, offers)
