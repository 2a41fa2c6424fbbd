"""What tests of the VAD stage share: sessions that speak, and a worker that listens to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from shared import heartbeat
from shared.audio import SAMPLE_RATE, Int16
from shared.broker import Pipe
from shared.heartbeat import WorkerInfo
from shared.keys import SessionKeys
from shared.lanes import LaneWriter
from shared.messages import Command, Frame, SessionConfig, TurnDetection
from tests.stages import context, shown, working
from workers.vad.engines import Hearing, TurnEngine, VadEngine
from workers.vad.engines.energy import EnergyEngine
from workers.vad.engines.length import LengthEngine
from workers.vad.worker import VadStage, start

CONFIG = SessionConfig(turn_detection=TurnDetection(silence_ms=300))


def turn(seconds: float) -> Int16:
    """Sound of a length, and the silence that ends it."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = 8000 * np.sin(2 * np.pi * 220 * times)
    return np.concatenate([sound, np.zeros(SAMPLE_RATE // 2)]).astype(np.int16)


def write(writer: LaneWriter, session: SessionKeys, audio: Int16, at: int = 0) -> int:
    """Appends `audio` in frames of 20 ms; returns where it ends."""
    for start_at in range(0, len(audio), 320):
        piece = audio[start_at : start_at + 320]
        writer.append(Frame(session.session_id, at + start_at, piece.tobytes(), 1))
    return at + len(audio)


def opened(session: SessionKeys, config: SessionConfig = CONFIG) -> Command:
    return Command(session.session_id, 0, "open", config.turn_detection)


@asynccontextmanager
async def listening(
    pipe: Pipe,
    url: str,
    name: str = "vad_1",
    engine: VadEngine | None = None,
    turns: TurnEngine | None = None,
) -> AsyncIterator[VadStage]:
    info = WorkerInfo(worker_id=name, stage="vad", ready=True)
    await heartbeat.sign_in(pipe, info)
    hearing = Hearing(engine or EnergyEngine(), turns or LengthEngine())
    stage = start(hearing, context(pipe, url, name))
    try:
        async with working(stage):
            yield stage
    finally:
        await heartbeat.sign_off(pipe, name)


async def kinds(pipe: Pipe, session: SessionKeys) -> list[str]:
    return [type(message).__name__ for message in await shown(pipe, session)]


TURN = ["SpeechStarted", "SpeechStopped", "Committed"]
