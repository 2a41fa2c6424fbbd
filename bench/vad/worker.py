"""A VAD worker under load: what it spends for so many sessions, and how late it hears them.

The worker is a process of its own, on a broker of its own; this process plays the gateway. Each
session asks a question of 3.6 s every six seconds, in frames of 20 ms, and no two begin together.
"""

import asyncio
import contextlib
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.vad.parts import shares
from cli.broker import Broker, find_server
from shared.audio import SAMPLE_RATE, read_wav, resample
from shared.broker import Pipe, connect, fields_of
from shared.heartbeat import living
from shared.ids import new_id, now_ms
from shared.keys import Keyspace, SessionKeys
from shared.lanes import LaneWriter
from shared.messages import Command, Frame, SessionConfig, SttJob, TurnDetection, decode
from shared.scripts import sessions
from shared.scripts.sessions import Attachment
from shared.settings import Settings, environment
from workers.vad.engines import WINDOW

QUESTION = Path(__file__).parent.parent.parent / "tests/data/question.wav"

_EVERY_S = 6.0
_FRAME_MS = 20
_FRAME = _FRAME_MS * SAMPLE_RATE // 1000
_SLOTS = 10  # into which the sessions of one frame's time are spread
# Ten windows, and sixteen frames: the frame that ends a turn is known to the millisecond.
_SILENCE_MS = 320
_WARM_UP_S = 5.0
_READY_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker took for `sessions`: CPU seconds of it and of its broker a second, and how
    long after their last frame turns were ended, in ms; `parts` are shares of the worker's time.

    `heard_s_per_s` is the audio it heard, in seconds a second: fewer than there are sessions if it,
    or this process, did not get the processor's time that it needed. `batch` is the mean one.
    """

    sessions: int
    cpu_s_per_s: float
    broker_cpu_s_per_s: float
    turns: int
    behind_p50_ms: float
    behind_ms: float
    rss_bytes: int
    parts: dict[str, float]
    heard_s_per_s: float = 0.0
    batch: float = 0.0


async def measure(engine: str, number: int, seconds: float, profile: Path | None) -> Load:
    """Has a worker with the engine `engine` listen to `number` sessions for a time; where a
    `profile` is asked for, it is taken afterwards and its stacks are written there."""
    settings = Settings()
    keyspace = Keyspace(settings.shards, settings.lanes)
    port = _free_port()
    async with _running(engine, port) as (url, broker_pid, worker), Pipe(connect(url)) as pipe:
        await _ready(pipe, worker)
        speaking = asyncio.create_task(_speak(pipe, keyspace, number))
        try:
            await asyncio.sleep(_WARM_UP_S)
            processes = [psutil.Process(worker.pid), psutil.Process(broker_pid)]
            began_ms, before = now_ms(), [_cpu_s(process) for process in processes]
            steps, windows = await asyncio.to_thread(_batches, port)
            await asyncio.sleep(seconds)
            spent_s = (now_ms() - began_ms) / 1000
            after = [_cpu_s(process) for process in processes]
            all_steps, all_windows = await asyncio.to_thread(_batches, port)
            rss_bytes = processes[0].memory_info().rss
            behind = await _behind_ms(pipe, keyspace, began_ms)
            parts = await shares(worker.pid, seconds, profile) if profile else {}
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    worker_s, broker_s = ((b - a) / spent_s for a, b in zip(before, after, strict=True))
    p50_ms, p99_ms = np.percentile(behind, [50, 99]) if behind else (0.0, 0.0)
    return Load(
        sessions=number,
        cpu_s_per_s=worker_s,
        broker_cpu_s_per_s=broker_s,
        turns=len(behind),
        behind_p50_ms=float(p50_ms),
        behind_ms=float(p99_ms),
        rss_bytes=rss_bytes,
        parts=parts,
        heard_s_per_s=(all_windows - windows) * WINDOW / SAMPLE_RATE / spent_s,
        batch=(all_windows - windows) / max(all_steps - steps, 1),
    )


@contextlib.asynccontextmanager
async def _running(engine: str, metrics_port: int) -> AsyncIterator[tuple[str, int, Process]]:
    """A broker and a worker, until the end of the block."""
    with TemporaryDirectory(prefix="parley-vad-") as folder:
        broker = Broker(find_server(), Path(folder))
        await asyncio.to_thread(broker.start)
        try:
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "workers.vad"),
                env=environment(
                    redis_url=broker.url,
                    profile="instant",
                    vad_engine=engine,
                    metrics_port=metrics_port,
                ),
                stdin=asyncio.subprocess.DEVNULL,
            )
            try:
                yield broker.url, broker.pid, worker
            finally:
                worker.terminate()
                await worker.wait()
        finally:
            await asyncio.to_thread(broker.stop)


async def _ready(pipe: Pipe, worker: Process) -> None:
    async with asyncio.timeout(_READY_S):
        while not any(info.ready for info in await living(pipe)):
            if worker.returncode is not None:
                raise RuntimeError("the worker ended as it started")
            await asyncio.sleep(_POLL_S)


async def _speak(pipe: Pipe, keyspace: Keyspace, number: int) -> None:
    """Gives the worker `number` sessions' audio in real time, until cancelled."""
    config = SessionConfig(turn_detection=TurnDetection(silence_ms=_SILENCE_MS))
    opened = [keyspace.session(new_id("sess")) for _ in range(number)]
    writer = LaneWriter(pipe, keyspace)
    for session in opened:
        hold = Attachment(session, "att")
        await sessions.attach(pipe, hold, gateway="bench", token="t", config=config)
        writer.append(Command(session.session_id, 0, "open", config.turn_detection))
    frames = _frames()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for tick, some in _ticks(opened):
        due_s = began_s + tick * _FRAME_MS / 1000 / _SLOTS
        await asyncio.sleep(max(due_s - loop.time(), 0))  # writers have their turn also when late
        frame = tick // _SLOTS
        for place, session in some:
            pcm = frames[(frame + place * len(frames) // number) % len(frames)]
            writer.append(Frame(session.session_id, frame * _FRAME, pcm, now_ms()))


def _ticks(opened: list[SessionKeys]) -> Iterator[tuple[int, list[tuple[int, SessionKeys]]]]:
    """Which sessions have a frame in each slot, for ever."""
    numbered = list(enumerate(opened))
    slots = [numbered[slot::_SLOTS] for slot in range(_SLOTS)]
    tick = 0
    while True:
        yield tick, slots[tick % _SLOTS]
        tick += 1


def _frames() -> list[bytes]:
    """The question and the silence after it, in frames."""
    samples, rate = read_wav(QUESTION)
    audio = np.zeros(int(_EVERY_S * SAMPLE_RATE), np.int16)
    question = resample(samples, rate, SAMPLE_RATE)
    audio[: len(question)] = question
    return [audio[at : at + _FRAME].tobytes() for at in range(0, len(audio), _FRAME)]


async def _behind_ms(pipe: Pipe, keyspace: Keyspace, since_ms: int) -> list[int]:
    """How long after the frame that ended it each turn since then was ended."""
    behind = []
    for shard in keyspace.all_shards():
        for _, fields in await pipe.command("XRANGE", shard.jobs("stt"), since_ms, "+"):
            marks = decode(fields_of(fields)[b"m"], SttJob).marks
            behind.append(marks["turn_end"] - marks["speech_end"] - _SILENCE_MS)
    return behind


def _batches(port: int) -> tuple[float, float]:
    """How many steps the worker has taken, and how many windows it heard in them."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        families = text_string_to_metric_families(reply.read().decode())
    values = {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("engine") == "vad"
    }
    return values["parley_batch_size_count"], values["parley_batch_size_sum"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
