"""The broker goes away in the middle of work, and nobody loses, repeats or ends anything."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest
import redis
import uvloop
from redis.asyncio import Redis, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as BrokerConnectionError

from cli.broker import Broker, bundled_server
from shared import broker as shared_broker
from shared.broker import BLOCK_MS, Pipe, connect, persist, published
from shared.job import Job
from shared.lanes import LaneWriter
from shared.messages import LlmJob, TextDelta
from shared.scripts.jobs import Progress
from tests.shared.test_jobs import Stage, consuming
from tests.shared.test_lanes import KEYSPACE as LANES
from tests.shared.test_lanes import Recorder, complete, keeping, records_of, write
from tests.stages import SOON_S, ask, done, open_session, shown, until
from tests.support.sentinels import SERVICE, Sentinels

_AWAY_S = 5.0
_STEP_S = 0.05
_FAILOVER_S = 30.0  # the old master is told some ten seconds later
_LETTERS = 120
_FRAMES = 240
_NAMES = [f"sess_{number}" for number in range(6)]

SERVERS = [bundled_server()[0], *map(Path, filter(None, [shutil.which("redis-server")]))]


@pytest.fixture(params=SERVERS, ids=lambda binary: binary.name)
def binary(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="parley-") as name:
        yield Path(name)


@asynccontextmanager
async def pipes(url: str) -> AsyncIterator[tuple[Pipe, Pipe]]:
    """A gateway's pipe and a worker's."""
    async with Pipe(connect(url)) as gateway, Pipe(connect(url), patient=True) as worker:
        yield gateway, worker


async def work_through(url: str, fault: Callable[[], Awaitable[None]]) -> list[int]:
    """Speech is heard and answers are written while `fault` happens; returns the attempts made.

    Two workers of each stage are there to take from each other what looks abandoned.
    """
    attempts: list[int] = []

    async def answer(job: Job) -> None:
        attempts.append(job.attempt)
        assert isinstance(job.message, LlmJob)
        response = job.message.response_id
        for at in range(_LETTERS):
            delta = TextDelta(response_id=response, segment=0, at=at, text="a")
            await job.emit([delta], progress=Progress(at, "a", 0))
            await asyncio.sleep(_STEP_S)
        await job.finish()

    async def speak(writer: LaneWriter) -> None:
        for at in range(_FRAMES):
            write(writer, _NAMES, at, 1)
            await asyncio.sleep(_STEP_S / 2)

    async with pipes(url) as (gateway, worker), AsyncExitStack() as stack:
        sessions = [await open_session(gateway) for _ in range(3)]
        for session in sessions:
            await ask(gateway, session, "Hello?")
        for name in ("llm_1", "llm_2"):
            await stack.enter_async_context(consuming(Stage(answer), worker, url, name))
        recorders: list[Recorder] = []
        for name in ("vad_1", "vad_2"):
            recorder, _, _ = await stack.enter_async_context(keeping(worker, url, name))
            recorders.append(recorder)
        await until(lambda: len(attempts) == 3)
        writer = LaneWriter(gateway, LANES)
        speaking = asyncio.create_task(speak(writer))
        await fault()
        await speaking
        await writer.flush()
        await until(lambda: complete(recorders, _NAMES, _FRAMES))
        await until(lambda: done(gateway, "llm"))
        for session in sessions:
            deltas = [m for m in await shown(gateway, session) if isinstance(m, TextDelta)]
            assert [delta.at for delta in deltas] == list(range(_LETTERS))
    return attempts


async def test_a_broker_that_is_restarted(binary: Path, folder: Path) -> None:
    with Broker(binary, folder) as server:

        async def restarted() -> None:
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(_AWAY_S)
            await asyncio.to_thread(server.start)

        assert await work_through(server.url, restarted) == [1, 1, 1]


async def test_a_broker_that_is_killed(binary: Path, folder: Path) -> None:
    with Broker(binary, folder) as server:

        async def killed() -> None:
            os.kill(server.pid, signal.SIGKILL)
            server.stop()
            await asyncio.sleep(_AWAY_S)
            await asyncio.to_thread(server.start)

        assert await work_through(server.url, killed) == [1, 1, 1]


async def test_a_broker_that_pauses(binary: Path, folder: Path) -> None:
    with Broker(binary, folder) as server:

        async def paused() -> None:
            with redis.Redis.from_url(server.url) as client:
                client.client_pause(int(_AWAY_S * 1000))
            await asyncio.sleep(_AWAY_S)

        assert await work_through(server.url, paused) == [1, 1, 1]


async def test_a_broker_that_is_stopped_and_continued(binary: Path, folder: Path) -> None:
    with Broker(binary, folder) as server:

        async def stopped() -> None:
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(_AWAY_S)
            os.kill(server.pid, signal.SIGCONT)

        assert await work_through(server.url, stopped) == [1, 1, 1]


async def test_a_master_that_is_killed_once_its_replica_has_everything(
    binary: Path, folder: Path
) -> None:
    with Sentinels(binary, folder) as servers:

        async def killed() -> None:
            with servers.client(servers.master) as master:
                master.client_pause(30_000, all=False)
                # not by WAIT, which is about what this connection wrote: nothing
                await until(servers.replicated)
            servers.kill(servers.master)

        assert await work_through(servers.url, killed) == [1, 1, 1]


async def test_everybody_follows_a_master_that_hands_over(binary: Path, folder: Path) -> None:
    with Sentinels(binary, folder) as servers:
        async with (
            pipes(servers.url) as (pipe, patient),
            connect(servers.url) as reader,
            connect(servers.url) as subscriber,
        ):
            heard: list[bytes] = []
            tasks = [
                asyncio.create_task(persist(lambda: listen(subscriber, heard))),
                asyncio.create_task(persist(lambda: read(reader))),
            ]
            await until(lambda: heard == [b"subscribed"])
            with servers.client(servers.sentinel) as sentinel:
                sentinel.sentinel_failover(SERVICE)

            async def handed_over() -> bool:
                role, *_ = await patient.command("ROLE")
                port = int((await patient.command("CONFIG", "GET", "port"))[1])
                return bool(role == b"master" and port == servers.replica)

            async with asyncio.timeout(_FAILOVER_S):
                while not await handed_over():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await pipe.command("XADD", "stream", "*", "m", "written to the new master")
            assert await asyncio.wait_for(tasks[1], SOON_S)
            await until(lambda: len(heard) >= 2)
            await pipe.command("PUBLISH", "channel", "said by the new master")
            await until(lambda: heard[-1] == b"said by the new master")
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def read(client: Redis) -> object:
    while not (reply := await client.xread({"stream": "0-0"}, block=BLOCK_MS)):
        pass
    return reply


async def listen(client: Redis, heard: list[bytes]) -> None:
    async with aclosing(published(client, ["channel"])) as messages:
        async for message in messages:
            heard.append(b"subscribed" if message["type"] == "subscribe" else message["data"])


# --- what each part does ---


async def test_a_lane_outlives_an_outage_longer_than_any_command(
    binary: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_broker, "_PATIENCE_S", 0.1)
    with Broker(binary, folder) as server:
        async with pipes(server.url) as (pipe, patient):
            server.stop()
            writer = LaneWriter(pipe, LANES)
            write(writer, _NAMES, 0, 50)
            written = asyncio.create_task(writer.written(_NAMES[0]))
            with pytest.raises(BrokerConnectionError):
                await pipe.command("GET", "anything")
            asked = asyncio.create_task(patient.command("INCR", "counter"))
            await asyncio.sleep(1)
            assert not written.done()
            assert not asked.done()
            server.start()
            assert await asyncio.wait_for(asked, SOON_S) == 1
            await asyncio.wait_for(written, SOON_S)
            await writer.flush()
            found = await records_of(pipe)
            for name in _NAMES:
                frames = [frame.at for frame in found[name]]
                assert frames == list(range(0, 50 * 320, 320))


@pytest.mark.parametrize("patient", [False, True])
def test_a_connection_that_breaks_in_the_middle_of_a_command(
    redis_url: str, patient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[UnixDomainSocketConnection] = []

    class Breaking(UnixDomainSocketConnection):
        async def send_packed_command(
            self, command: bytes | str | Iterable[bytes], check_health: bool = True
        ) -> None:
            parts = [] if isinstance(command, bytes | str) else list(command)
            if not broken and any(b"PING" in part for part in parts):
                broken.append(self)
                assert self._writer is not None
                self._writer.transport.abort()
                await asyncio.sleep(0)
            await super().send_packed_command(parts or command, check_health)

    async def ping() -> bytes:
        async with Pipe(connect(redis_url), patient=patient) as pipe:
            monkeypatch.setattr(pipe.redis.connection_pool, "connection_class", Breaking)
            reply: bytes = await pipe.command("PING")
            return reply

    # as in every process: its transports have an error of their own for that
    assert uvloop.run(ping()) == b"PONG"
    assert broken


async def test_a_wrong_password_is_said_at_once(binary: Path, folder: Path) -> None:
    with Broker(binary, folder) as server:
        path = server.url.partition("@")[2]
        async with Pipe(connect(f"unix://:wrong@{path}"), patient=True) as pipe:
            with pytest.raises(BrokerConnectionError, match="invalid username-password pair"):
                await pipe.command("PING")


@pytest.mark.parametrize("url", ["redis+sentinel://host:1", "redis+sentinel:///service"])
def test_an_address_of_sentinels_names_hosts_and_a_service(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis\+sentinel://\[user:password@\]host"):
        connect(url)
