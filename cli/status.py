"""The processes of a `parley up` as a table that stays below its log."""

import asyncio
import socket
import threading
import xmlrpc.client
from collections import Counter
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import psutil
from redis.exceptions import RedisError
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.address import local_url
from cli.console import console
from cli.overview import Gateway, Overview, Worker, overview
from cli.reach import client
from cli.supervisor import Running, Supervisor, kind
from cli.tables import add_rest, plain_table, sessions, size
from shared.broker import Pipe
from shared.keys import Keyspace
from shared.logs import printable
from shared.settings import Settings

_EVERY_S = 1.0
_ANSWER_S = 2.0
_STATE_COLUMNS = len("starting 30 s")
_STYLES = {"ready": "green", "loading": "yellow", "starting": "yellow", "ended": "bold red"}
# supervisord's words for what is not a process at work, and ours.
_OTHERWISE = {"BACKOFF": "ended", "FATAL": "ended", "STOPPING": "draining"}


class StatusTable:
    """A live table; what is given to `write` scrolls above it. Use as a context manager.

    A thread of its own asks supervisord and the broker once a second.
    """

    def __init__(self, config: Settings, folder: Path) -> None:
        """`config`: what the processes run with; `folder`: where supervisord's interface is."""
        self._url = local_url(config)
        self._keyspace = Keyspace(config.shards, config.lanes)
        self._redis = client(config)
        self._folder = folder
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "StatusTable":
        self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._live.stop()

    def write(self, line: str) -> None:
        """Adds a line to the log."""
        text = printable(line.rstrip("\n").expandtabs())
        console.print(text, markup=False, soft_wrap=True)

    def _run(self) -> None:
        history = History()
        with asyncio.Runner() as runner:
            pipe = Pipe(self._redis)
            while not self._over.wait(_EVERY_S):
                now = runner.run(_asked(pipe, self._keyspace))
                rows = history.rows(_programs(self._folder), now)
                if rows:
                    self._live.update(rendered(self._url, rows, now), refresh=True)
            runner.run(pipe.redis.aclose())


class Row(NamedTuple):
    """What is shown of a process; `delay_ms` is its stage's, None where there are no jobs."""

    name: str
    state: str
    since_s: int
    pid: int
    restarts: int
    cpu_percent: float
    rss_bytes: int
    delay_ms: int | None
    model: str


class History:
    """What only shows from one look to the next: processor time, and who was started again."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._pids: dict[str, int] = {}
        self._restarts: Counter[str] = Counter()

    def rows(self, programs: Sequence[Running], now: Overview | None) -> list[Row]:
        """What is known of these programs; `now` is None while the broker does not answer."""
        here = socket.gethostname()
        signed_in: dict[int, Gateway | Worker] = {}
        if now is not None:
            members: list[Gateway | Worker] = [*now.gateways, *now.workers]
            signed_in = {each.pid: each for each in members if each.host == here}
        stages = now.stages if now else []
        delays = {stage.stage: stage.delay_ms for stage in stages if stage.stage != "vad"}
        self._processes = {
            pid: process for pid, process in self._processes.items() if process.is_running()
        }
        return [
            self._row(program, signed_in.get(program.pid), delays.get(kind(program.name)))
            for program in programs
        ]

    def _row(self, program: Running, member: Gateway | Worker | None, delay: int | None) -> Row:
        if program.pid:
            before = self._pids.get(program.name, program.pid)
            self._restarts[program.name] += before != program.pid
            self._pids[program.name] = program.pid
        cpu_percent, rss_bytes = self._used(program.pid)
        return Row(
            name=program.name,
            state=_state(program, member),
            since_s=program.since_s,
            pid=program.pid,
            restarts=self._restarts[program.name],
            cpu_percent=cpu_percent,
            rss_bytes=rss_bytes,
            delay_ms=delay,
            model=member.model if isinstance(member, Worker) else "",
        )

    def _used(self, pid: int) -> tuple[float, int]:
        if not pid:
            return 0.0, 0
        try:
            process = self._processes.setdefault(pid, psutil.Process(pid))
            return process.cpu_percent(), process.memory_info().rss
        except psutil.NoSuchProcess:  # it ended in this moment
            return 0.0, 0


def rendered(url: str, rows: Sequence[Row], now: Overview | None) -> RenderableType:
    """What a person is shown of it."""
    return Group("", _headline(url, now), _table(rows))


async def _asked(pipe: Pipe, keyspace: Keyspace) -> Overview | None:
    try:
        async with asyncio.timeout(_ANSWER_S):
            await pipe.redis.ping()  # a pipe would wait for a broker that is away
            return await overview(pipe, keyspace)
    except (RedisError, OSError):
        return None  # it begins, or ends, or is away, which the log tells


def _programs(folder: Path) -> list[Running]:
    try:
        return Supervisor(folder).running()
    except (OSError, HTTPException, xmlrpc.client.Error, KeyError):
        return []  # it begins or ends


def _state(program: Running, member: Gateway | Worker | None) -> str:
    if program.state not in ("STARTING", "RUNNING"):
        return _OTHERWISE.get(program.state, "stopped")
    if program.name == "broker" or isinstance(member, Gateway):
        return "ready"
    if member is None:
        return "starting"
    return "ready" if member.ready else "loading"


def _headline(url: str, now: Overview | None) -> Text:
    line = Text.assemble(("Parley", "bold"), f"  {url}")
    if now is None:
        return line
    line.append(f"   {sessions(now.sessions.open)}", "bold green" if now.sessions.open else "")
    if now.voice_to_voice is not None:
        line.append(f"   voice to voice {now.voice_to_voice.p50_ms:.0f} ms (p50)")
    if now.dead_jobs:
        line.append(f"   {now.dead_jobs} dead jobs", "bold red")
    return line


def _table(rows: Sequence[Row]) -> Table:
    table = plain_table("process", "state", "pid", "restarts", "cpu", "memory", "delay", gap=2)
    table.columns[1].justify, table.columns[1].min_width = "left", _STATE_COLUMNS
    add_rest(table, "model")
    for row in rows:
        waits = row.state in ("starting", "loading")
        state = f"{row.state} {row.since_s} s" if waits else row.state
        table.add_row(
            row.name,
            Text(state, _STYLES.get(row.state, "")),
            str(row.pid or ""),
            Text(str(row.restarts), "yellow" if row.restarts else "dim"),
            f"{row.cpu_percent:.0f} %",
            size(row.rss_bytes),
            "" if row.delay_ms is None else f"{row.delay_ms} ms",
            printable(row.model),
        )
    return table
