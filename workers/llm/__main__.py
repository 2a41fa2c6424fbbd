"""Runs one LLM worker: `python -m workers.llm`."""

from shared.worker import run_worker
from workers.llm.engines import create
from workers.llm.worker import start

if __name__ == "__main__":
    run_worker("llm", create, start)
