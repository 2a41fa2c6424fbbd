"""The dead-lettered jobs of a shard: reading them, and putting one back to work."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from shared.broker import Argument, Pipe, fields_of
from shared.keys import Shard
from shared.messages import JobMessage, LlmJob, MessageError, SttJob, TtsJob, decode
from shared.scripts import SESSION_TTL_S

RetryStatus = Literal["ok", "missing", "gone", "over"]
"""ok; it is not among the dead any more; its session ended; its response is over."""

_JOBS: dict[str, type[JobMessage]] = {"stt": SttJob, "llm": LlmJob, "tts": TtsJob}
_PAGE = 16  # a transcription's job brings its turn's audio along


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that failed on every attempt. `message` says why where it cannot be read."""

    shard: Shard
    entry: str
    stage: str
    epoch: str
    error: str
    message: JobMessage | MessageError

    @property
    def job_id(self) -> str:
        """Its name among the dead of every shard."""
        return f"{self.shard.number}/{self.entry}"

    @property
    def died_ms(self) -> int:
        """When it was buried, in wall-clock milliseconds of the broker."""
        return int(self.entry.partition("-")[0])


async def dead_jobs(pipe: Pipe, shard: Shard) -> AsyncIterator[DeadJob]:
    """The shard's dead-lettered jobs, the oldest first."""
    start = "-"
    while rows := await pipe.command("XRANGE", shard.dead, start, "+", "COUNT", _PAGE):
        for entry, flat in rows:
            yield _dead_job(shard, entry.decode(), flat)
        start = f"({rows[-1][0].decode()}"


async def dead_job(pipe: Pipe, shard: Shard, entry: str) -> DeadJob | None:
    """One of the shard's dead-lettered jobs, or None if there is none of that name."""
    rows = await pipe.command("XRANGE", shard.dead, entry, entry)
    return _dead_job(shard, entry, rows[0][1]) if rows else None


async def retry(pipe: Pipe, job: DeadJob) -> RetryStatus:
    """Puts a job back at the end of its stage's stream, with no attempt counted.

    Raises:
        MessageError: the job cannot be read, so no worker could do it either.
    """
    if isinstance(job.message, MessageError):
        raise job.message
    session = job.shard.session(job.message.session_id)
    response_id = "" if isinstance(job.message, SttJob) else job.message.response_id
    keys = [
        job.shard.dead,
        job.shard.jobs(job.stage),
        session.state,
        session.response(response_id or "none"),
    ]
    arguments: list[Argument] = [SESSION_TTL_S, job.shard.prefix, session.session_id]
    arguments += [job.entry, response_id]
    reply: bytes = await pipe.script("retry_dead", keys, arguments)
    return reply.decode()  # type: ignore[return-value]


async def drop(pipe: Pipe, job: DeadJob) -> bool:
    """Removes a job for good; False if it was gone already."""
    return bool(await pipe.command("XDEL", job.shard.dead, job.entry))


def _dead_job(shard: Shard, entry: str, flat: list[bytes]) -> DeadJob:
    fields = fields_of(flat)
    stage, epoch, problem = (
        fields[name].decode(errors="replace") for name in (b"stage", b"epoch", b"error")
    )
    message: JobMessage | MessageError
    try:
        message = decode(fields[b"m"], _JOBS[stage])
    except MessageError as error:
        message = error
    return DeadJob(shard, entry, stage, epoch, problem, message)
