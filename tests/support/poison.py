"""A worker whose engine dies of some jobs: `python -m tests.support.poison`.

A job that begins says so in the broker. One whose instructions are "poison" kills the process a
moment later, together with whatever runs beside it; any other is done after twice that time.
"""

import asyncio
import os
import signal
from dataclasses import dataclass

from shared.job import Job
from shared.messages import JobMessage, LlmJob, OutMessage, ResponseFailed, TextDelta
from shared.settings import Settings
from shared.worker import Context, JobWorker, run_worker

BEGUN = "test:begun"
_KILLS_AFTER_S = 0.3


class Engine:
    """No model at all."""

    model = "poison"

    def load(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Stage:
    context: Context
    name: str = "llm"
    job_type: type[JobMessage] = LlmJob
    slots: int = 4
    cancellable: bool = False

    async def handle(self, job: Job) -> None:
        message = job.message
        assert isinstance(message, LlmJob)
        pipe = self.context.pipe
        await pipe.command("RPUSH", BEGUN, f"{os.getpid()} {message.response_id}")
        await pipe.command("EXPIRE", BEGUN, 60)
        await asyncio.sleep(_KILLS_AFTER_S)
        if message.instructions == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(_KILLS_AFTER_S)
        done = TextDelta(response_id=message.response_id, segment=0, at=0, text="Hello.")
        await job.finish([done])

    def failure(self, message: JobMessage, problem: str) -> OutMessage:
        assert isinstance(message, LlmJob)
        return ResponseFailed(response_id=message.response_id, message=problem)


def create(settings: Settings) -> Engine:
    return Engine()


def start(engine: Engine, context: Context) -> JobWorker:
    return JobWorker(Stage(context), context)


if __name__ == "__main__":
    run_worker("llm", create, start)
