"""How a whole system does: what `parley top` shows, and prints as JSON.

Everything comes from the broker, with which gateways and workers sign in, so it is the same seen
from any machine and for any number of gateways. All of it is of this moment but for latencies,
which are of the turns of the last five minutes.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from cli.reach import broker_ms
from shared import gateways, heartbeat
from shared.broker import Pipe, fields_of
from shared.footprint import Footprint
from shared.gateways import GatewayInfo
from shared.heartbeat import WorkerInfo
from shared.keys import Keyspace
from shared.profiles import STAGES
from shared.profiles import Stage as StageName
from shared.recent import Counts, merged, percentile_ms
from shared.waterfall import PARTS


class Latency(msgspec.Struct, frozen=True):
    """How long `turns` took, in ms: half of them at most `p50_ms`."""

    turns: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Sessions(msgspec.Struct, frozen=True):
    """Sessions that have their client now; the others count since the gateways began."""

    open: int
    opened: int
    resumed: int
    refused: int


class Process(msgspec.Struct, frozen=True):
    """A gateway or a worker; `cpu_percent` is of one core."""

    id: str
    host: str
    pid: int
    cpu_percent: float
    rss_bytes: int


class Gateway(Process, frozen=True):
    """A gateway and how many sessions it serves."""

    sessions: int


class Worker(Process, frozen=True):
    """A worker: `load` of its `slots` are taken; of VAD, which has none, sessions listened to."""

    stage: str
    ready: bool
    model: str
    device: str
    load: int
    slots: int


class Stage(msgspec.Struct, frozen=True):
    """A stage's workers together, and the jobs that wait for one of them: how many, and for how
    long the oldest has. VAD has no jobs."""

    stage: str
    workers: int
    ready: int
    load: int
    slots: int
    waiting: int
    delay_ms: int


class Gpu(msgspec.Struct, frozen=True):
    """A GPU's memory: what of it all processes have taken."""

    host: str
    name: str
    used_bytes: int
    total_bytes: int


class Broker(msgspec.Struct, frozen=True):
    """The broker, by its own account."""

    version: str
    memory_bytes: int
    clients: int
    commands_per_s: int


class Overview(msgspec.Struct, frozen=True):
    """The whole. `v` grows when a field changes its meaning or goes; fields may be added.

    `at_ms` is the broker's clock. `voice_to_voice` is the time from the end of what somebody said
    to the first audio of the answer, `parts` its parts by name; None and none without a turn.
    """

    v: int
    at_ms: int
    sessions: Sessions
    voice_to_voice: Latency | None
    parts: dict[str, Latency]
    stages: list[Stage]
    workers: list[Worker]
    gateways: list[Gateway]
    gpus: list[Gpu]
    dead_jobs: int
    broker: Broker


async def overview(pipe: Pipe, keyspace: Keyspace) -> Overview:
    """The system on this broker as it is now."""
    at_ms, serving, working, broker, queues, dead = await asyncio.gather(
        broker_ms(pipe),
        gateways.living(pipe),
        heartbeat.living(pipe),
        _broker(pipe),
        asyncio.gather(*(_queue(pipe, keyspace, stage) for stage in STAGES)),
        asyncio.gather(*(pipe.command("XLEN", shard.dead) for shard in keyspace.all_shards())),
    )
    return Overview(
        v=1,
        at_ms=at_ms,
        sessions=Sessions(
            open=sum(info.sessions for info in serving),
            opened=sum(info.opened for info in serving),
            resumed=sum(info.resumed for info in serving),
            refused=sum(info.refused for info in serving),
        ),
        voice_to_voice=_latency([info.voice_to_voice for info in serving]),
        parts=_parts(serving),
        stages=[
            _stage(stage, [info for info in working if info.stage == stage], queue, at_ms)
            for stage, queue in zip(STAGES, queues, strict=True)
        ],
        workers=[_worker(info) for info in sorted(working, key=_place)],
        gateways=[_gateway(info) for info in sorted(serving, key=lambda info: info.gateway_id)],
        gpus=_gpus([(info.host, info.footprint) for info in working]),
        dead_jobs=sum(dead),
        broker=broker,
    )


def _place(info: WorkerInfo) -> tuple[int, str, int]:
    order: list[str] = [*STAGES]
    return order.index(info.stage), info.host, info.pid


def _latency(parts: Sequence[Counts]) -> Latency | None:
    counts = merged(parts)
    p50_ms, p95_ms, p99_ms = (percentile_ms(counts, percent) for percent in (50, 95, 99))
    if p50_ms is None or p95_ms is None or p99_ms is None:
        return None
    return Latency(sum(counts.values()), round(p50_ms, 1), round(p95_ms, 1), round(p99_ms, 1))


def _parts(serving: Sequence[GatewayInfo]) -> dict[str, Latency]:
    found = {
        part: _latency([info.parts.get(part, {}) for info in serving]) for part in PARTS.values()
    }
    return {part: latency for part, latency in found.items() if latency is not None}


def _stage(stage: str, workers: Sequence[WorkerInfo], queue: "_Queue", at_ms: int) -> Stage:
    return Stage(
        stage=stage,
        workers=len(workers),
        ready=sum(info.ready for info in workers),
        load=sum(info.load for info in workers),
        slots=sum(info.slots for info in workers),
        waiting=queue.waiting,
        delay_ms=max(at_ms - queue.since_ms, 0) if queue.since_ms else 0,
    )


def _worker(info: WorkerInfo) -> Worker:
    return Worker(
        id=info.worker_id,
        host=info.host,
        pid=info.pid,
        cpu_percent=info.footprint.cpu_percent,
        rss_bytes=info.footprint.rss_bytes,
        stage=info.stage,
        ready=info.ready,
        model=info.model,
        device=info.device,
        load=info.load,
        slots=info.slots,
    )


def _gateway(info: GatewayInfo) -> Gateway:
    return Gateway(
        id=info.gateway_id,
        host=info.host,
        pid=info.pid,
        cpu_percent=info.footprint.cpu_percent,
        rss_bytes=info.footprint.rss_bytes,
        sessions=info.sessions,
    )


def _gpus(footprints: Sequence[tuple[str, Footprint]]) -> list[Gpu]:
    """Each card once, of which several workers may tell."""
    found = {
        (footprint.machine, footprint.gpu.name): Gpu(
            host, footprint.gpu.name, footprint.gpu.used_bytes, footprint.gpu.total_bytes
        )
        for host, footprint in footprints
        if footprint.gpu is not None
    }
    return [found[place] for place in sorted(found)]


class _Queue(NamedTuple):
    """How many jobs no worker has taken, and since when the oldest of them waits, by the broker's
    clock: 0 if there is none."""

    waiting: int
    since_ms: int


async def _queue(pipe: Pipe, keyspace: Keyspace, stage: StageName) -> _Queue:
    """The queue of a stage in all shards."""
    if stage == "vad":
        return _Queue(0, 0)
    streams = [shard.jobs(stage) for shard in keyspace.all_shards()]
    queues = await asyncio.gather(*(_queue_of(pipe, stream, stage) for stream in streams))
    since = [queue.since_ms for queue in queues if queue.since_ms]
    return _Queue(sum(queue.waiting for queue in queues), min(since, default=0))


async def _queue_of(pipe: Pipe, stream: str, group: str) -> _Queue:
    if not await pipe.command("EXISTS", stream):
        return _Queue(0, 0)  # before the stage's first worker; Redis calls it an error to ask
    length, rows = await asyncio.gather(
        pipe.command("XLEN", stream), pipe.command("XINFO", "GROUPS", stream)
    )
    groups = {row[b"name"]: row for row in map(fields_of, rows)}
    # Of a stream without a group nothing was ever taken.
    pending, last = 0, b"0-0"
    if group.encode() in groups:
        known = groups[group.encode()]
        pending, last = int(known[b"pending"]), known[b"last-delivered-id"]
    # Whatever is done is deleted, and whatever is taken is pending.
    first = await pipe.command("XRANGE", stream, f"({last.decode()}", "+", "COUNT", 1)
    since_ms = int(first[0][0].partition(b"-")[0]) if first else 0
    return _Queue(max(length - pending, 0), since_ms)


async def _broker(pipe: Pipe) -> Broker:
    text = await pipe.command("INFO")
    lines = (line.partition(":") for line in text.decode().splitlines())
    figures = {name: value for name, _, value in lines}
    valkey = figures.get("valkey_version")
    return Broker(
        version=f"Valkey {valkey}" if valkey else f"Redis {figures['redis_version']}",
        memory_bytes=int(figures["used_memory"]),
        clients=int(figures["connected_clients"]),
        commands_per_s=int(figures["instantaneous_ops_per_sec"]),
    )
