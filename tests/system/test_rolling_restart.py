"""Processes told to stop under load: all exit with 0, and nobody notices, to the sample."""

import asyncio
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.chaos.broker_view import BrokerView, viewing
from bench.chaos.conversation import Conversation
from bench.chaos.invariants import Violation, check
from bench.chaos.script import SILENCE_MS, Turn, script
from cli.broker import Broker, find_server
from cli.runtime import running as place_of
from cli.runtime import settings_of
from shared.audio import Int16
from shared.broker import Pipe, connect
from shared.heartbeat import living
from shared.keys import Keyspace
from shared.leases import LEASE_MS
from shared.messages import SttJob, encode
from shared.scripts import jobs
from shared.settings import environment
from tests.stages import open_session, until
from tests.support.up import Up, running

SESSIONS = 8
TURNS = 3
SEED = 3
PAUSE_S = 0.2
SOON_S = 240.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Two workers of every stage, whose engines take their time."""
    data = tmp_path_factory.mktemp("data") / "broker"
    workers = {f"PARLEY_{stage}_WORKERS": "2" for stage in ("VAD", "STT", "LLM", "TTS")}
    # Everybody is let in: it is about those who are there.
    shape = {"PARLEY_SILENCE_MS": str(SILENCE_MS), "PARLEY_QUEUE_LIMIT_MS": "0", **workers}
    with running(data, "paced", **shape) as started:
        yield started


def _voice(turn: Turn) -> Int16:
    return turn.speech(SEED)


class Talkers:
    """People who talk to one server, session after session, until they are to stop."""

    def __init__(self, url: str, view: BrokerView) -> None:
        self.violations: list[Violation] = []
        self.turns = 0
        self.resumed = 0
        self.enough = False
        self._url = url
        self._view = view
        self._numbers = itertools.count()

    async def talk(self) -> None:
        while not self.enough:
            number = next(self._numbers)
            turns = script(SEED, number, TURNS, PAUSE_S)
            conversation = Conversation(self._url, number, turns, _voice)
            await conversation.run(self._view.history)
            record = conversation.record
            self.violations += check(record, conversation.transcripts, conversation.history)
            self.turns += len(record.exchanges)
            self.resumed += record.resumed


async def restart(port: int, *programs: str) -> tuple[int | None, str]:
    """Runs `parley restart`; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from cli.main import app; app()"),
        *("restart", *programs, "--port", str(port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_no_turn_fails_while_everything_restarts(pairs: Up) -> None:
    config = settings_of(place_of(pairs.port))
    async with viewing(config.redis_url, Keyspace(config.shards, config.lanes)) as view:
        people = Talkers(pairs.url, view)
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as talking:
            for _ in range(SESSIONS):
                talking.create_task(people.talk())
            try:
                code, said = await restart(pairs.port)
            finally:
                people.enough = True
    names = [line.split()[0] for line in said.splitlines()]
    pair = [f"{stage}-{n}" for stage in ("vad", "stt", "llm", "tts") for n in (1, 2)]
    assert names == [*pair, "gateway"], said
    assert code == 0
    assert people.violations == []
    assert people.turns >= SESSIONS * TURNS
    assert people.resumed > 0, "who is between two sessions in that moment connects anew"
    log = pairs.log.read_text()
    assert " parley   " not in log, "the supervisor says only what ends otherwise than with 0"


async def test_what_an_engine_is_in_the_middle_of_is_handed_on(tmp_path: Path) -> None:
    with Broker(find_server(), tmp_path / "b") as broker:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "workers.stt"),
            env=environment(redis_url=broker.url, profile="paced", paced_stt_ms=60_000),
        )
        async with Pipe(connect(broker.url)) as pipe:
            session = await open_session(pipe)
            shard, pcm = session.shard, bytes(32_000)
            job = SttJob(session_id=session.session_id, item_id="item_1", turn=1, pcm=pcm)
            await pipe.command("XADD", shard.jobs("stt"), "*", "m", encode(job), "epoch", 0)

            async def taken() -> bool:
                return any(each.load == 1 for each in await living(pipe))

            await until(taken)
            worker.terminate()
            assert await worker.wait() == 0
            assert len(await jobs.orphans(pipe, shard, "stt", LEASE_MS, 10)) == 1
