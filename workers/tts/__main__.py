"""Runs one TTS worker: `python -m workers.tts`."""

from shared.worker import run_worker
from workers.tts.engines import create, offers
from workers.tts.worker import start

if __name__ == "__main__":
    run_worker("tts", create, start, offers)
