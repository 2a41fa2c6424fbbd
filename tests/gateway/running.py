"""A whole server in one process: the gateway under uvicorn, and the four stages beside it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest
from fastapi import FastAPI
from uvicorn import Server

from gateway.__main__ import server
from gateway.hub import Hub
from shared import heartbeat
from shared.broker import Pipe, connect
from shared.heartbeat import WorkerInfo
from shared.keys import Keyspace
from shared.settings import Settings
from shared.worker import Context, Running
from tests.stages import SOON_S, until, working
from workers.llm import engines as llm_engines
from workers.llm import worker as llm
from workers.stt import engines as stt_engines
from workers.stt import worker as stt
from workers.tts import engines as tts_engines
from workers.tts import worker as tts
from workers.vad import engines as vad_engines
from workers.vad import worker as vad

_STAGES: dict[str, Callable[[Context], Running]] = {
    "vad": lambda context: vad.start(vad_engines.create(context.settings), context),
    "stt": lambda context: stt.start(stt_engines.create(context.settings), context),
    "llm": lambda context: llm.start(llm_engines.create(context.settings), context),
    "tts": lambda context: tts.start(tts_engines.create(context.settings), context),
}


def instant(redis_url: str) -> Settings:
    """Engines that take no time, and turns that end soon. Nobody is refused for load: this process
    is server and clients at once."""
    return Settings(
        redis_url=redis_url, profile="instant", lanes=2, silence_ms=200, queue_limit_ms=0
    )


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error, before the test, in it or since."""
    records = [r for phase in ("setup", "call", "teardown") for r in caplog.get_records(phase)]
    return [record.getMessage() for record in records if record.levelno >= logging.ERROR]


@dataclass
class Gateway:
    """A running gateway."""

    host: str
    app: FastAPI
    server: Server

    @property
    def hub(self) -> Hub:
        hub: Hub = self.app.state.hub
        return hub

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self.server.server_state.connections)

    @property
    def idle(self) -> bool:
        """Whether nothing is left of any session."""
        return not (self.hub._sessions or self.hub._follower._followed)


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A gateway on a free port of the loopback interface."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        running = server(settings)
        task = asyncio.create_task(running.serve(sockets=[listening]))
        try:
            await until(lambda: running.started or task.done())
            app = running.config.app
            assert isinstance(app, FastAPI)
            yield Gateway(host, app, running)
        finally:
            running.should_exit = True
            await asyncio.wait_for(task, 2 * SOON_S)


@asynccontextmanager
async def stages(settings: Settings, *, but: str = "") -> AsyncIterator[None]:
    """One worker of each stage `but` one, signed in as a worker's process does it."""
    keyspace = Keyspace(settings.shards, settings.lanes)
    async with AsyncExitStack() as stack:
        pipe = await stack.enter_async_context(Pipe(connect(settings.redis_url)))
        for stage, start in _STAGES.items():
            if stage == but:
                continue
            context = Context(f"{stage}_1", settings, keyspace, pipe)
            await stack.enter_async_context(working(start(context)))
            await stack.enter_async_context(signed_in(pipe, stage))
        yield


@asynccontextmanager
async def signed_in(pipe: Pipe, stage: str, running: Running | None = None) -> AsyncIterator[None]:
    """A worker of `stage` that is ready, for as long as the block runs; of one that is `running` it
    is told how it does."""
    info = WorkerInfo(worker_id=f"{stage}_1", stage=stage, ready=True)

    def describe() -> WorkerInfo:
        if running is None:
            return info
        return msgspec.structs.replace(
            info, slots=running.slots, queue_delay_ms=running.queue_delay_ms, busy=running.busy
        )

    await heartbeat.sign_in(pipe, describe())
    beat = asyncio.create_task(heartbeat.keep_signing_in(pipe, describe))
    try:
        yield
    finally:
        beat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beat
        await heartbeat.sign_off(pipe, info.worker_id)
