"""Which utterances are transcribed together, and when.

Jobs come first. What may become a job, because somebody has paused, is transcribed ahead while no
job waits; the job then has its transcript at once, or the rest of the time sooner.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field

from shared.metrics.work import BATCH
from workers.stt.engines import SttEngine, Transcript, Utterance

# Transcripts that no job has asked for yet. Most never are: somebody went on speaking.
_MOST_AHEAD = 64

_BATCH = BATCH.labels("stt")


def _nobody() -> None:
    """Nobody wants to know when a hint's transcription starts."""


class _Dropped(Exception):
    """Others came in between: it is not transcribed ahead."""


@dataclass(eq=False, slots=True)
class _Wanted:
    """An utterance and its transcript to be; `started` is called when the engine gets it."""

    utterance: Utterance
    started: Callable[[], None] = _nobody
    future: asyncio.Future[Transcript] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, outcome: Transcript | Exception) -> None:
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
            self.future.exception()  # whoever waits gets it, and of a hint nobody may
        else:
            self.future.set_result(outcome)


class Batcher:
    """Transcribes what is waiting together: while one batch is in the engine, the next gathers.

    An utterance that makes a batch fail is found by transcribing each alone, so that it fails
    alone.
    """

    def __init__(self, engine: SttEngine, size: int) -> None:
        self._engine = engine
        self._size = size
        self._waiting: list[_Wanted] = []
        self._hinted: list[_Wanted] = []
        self._ahead: dict[bytes, _Wanted] = {}
        self._task: asyncio.Task[None] | None = None

    async def transcribe(
        self, utterance: Utterance, started: Callable[[], None] = _nobody
    ) -> Transcript:
        """The transcript of one utterance; raises what the engine raised for it. `started` is
        called when the engine has it, be it from before."""
        wanted = self._ahead.pop(_digest(utterance), None)
        if wanted is None:
            wanted = _Wanted(utterance, started)
            self._waiting.append(wanted)
        elif wanted in self._hinted:
            self._hinted.remove(wanted)
            wanted.started = started
            self._waiting.append(wanted)
        else:
            started()
        self._start()
        return await asyncio.shield(wanted.future)

    async def transcribe_ahead(self, utterance: Utterance) -> Transcript | None:
        """The transcript of what will perhaps be a job; None where it is one by now, or where jobs
        left no time for it."""
        digest = _digest(utterance)
        if digest in self._ahead:  # a pause that was heard again
            return None
        wanted = self._ahead[digest] = _Wanted(utterance)
        self._hinted.append(wanted)
        for oldest in list(self._ahead)[:-_MOST_AHEAD]:
            self._drop(self._ahead.pop(oldest))
        self._start()
        with contextlib.suppress(_Dropped):
            transcript = await asyncio.shield(wanted.future)
            return transcript if digest in self._ahead else None
        return None

    async def close(self) -> None:
        """Leaves undone what no job has asked for, and waits for what is in the engine."""
        for wanted in list(self._hinted):
            self._drop(wanted)
        if self._task is not None:
            await asyncio.wait({self._task})

    def _drop(self, wanted: _Wanted) -> None:
        if wanted in self._hinted:
            self._hinted.remove(wanted)
            wanted.settle(_Dropped())

    def _start(self) -> None:
        if self._task is None and (self._waiting or self._hinted):
            # What it logs concerns all of a batch, and none of its sessions alone.
            self._task = asyncio.create_task(self._work(), name="transcription", context=Context())

    async def _work(self) -> None:
        try:
            while self._waiting or self._hinted:
                queue = self._waiting or self._hinted
                batch = queue[: self._size]
                del queue[: self._size]
                await self._transcribe(batch)
        finally:
            self._task = None

    async def _transcribe(self, batch: Sequence[_Wanted]) -> None:
        utterances = [wanted.utterance for wanted in batch]
        _BATCH.observe(len(batch))
        for wanted in batch:
            wanted.started()
        try:
            transcripts = await asyncio.to_thread(self._engine.transcribe, utterances)
        except Exception as error:
            if len(batch) == 1:
                batch[0].settle(error)
                return
            for alone in batch:
                await self._transcribe([alone])
            return
        for wanted, transcript in zip(batch, transcripts, strict=True):
            wanted.settle(transcript)


def _digest(utterance: Utterance) -> bytes:
    """What tells an utterance from others, in little memory."""
    digest = hashlib.blake2b(utterance.pcm.tobytes())
    digest.update(repr((utterance.language, utterance.prompt)).encode())
    return digest.digest()
