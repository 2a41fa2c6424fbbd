"""`parley dead`, with real dead letters on a real broker."""

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from cli.runtime import running as place_of
from cli.runtime import settings_of
from shared.audio import read_wav
from shared.broker import Pipe, connect, fields_of
from shared.ids import new_id
from shared.keys import Keyspace, SessionKeys
from shared.messages import (
    JobMessage,
    LlmJob,
    SessionConfig,
    SttJob,
    Transcribed,
    TtsJob,
    decode,
    encode,
)
from shared.scripts import jobs, sessions
from shared.scripts.jobs import Ownership
from tests.stages import ask, held, open_session, shown, until
from tests.support.command import parley
from tests.support.up import Up, running

SHARDS = 3
KEYSPACE = Keyspace(shards=SHARDS, lanes=1)
PCM = np.arange(16_000, dtype="<i2")


def dead(redis_url: str, *arguments: str) -> CompletedProcess[str]:
    return parley("dead", *arguments, PARLEY_REDIS_URL=redis_url, PARLEY_SHARDS=str(SHARDS))


def listed(redis_url: str) -> list[str]:
    return [row["id"] for row in json.loads(dead(redis_url, "list", "--json").stdout)]


async def bury(
    pipe: Pipe, session: SessionKeys, stage: str, payload: bytes, error: str = "it broke"
) -> str:
    """Has a worker take a job and give it up for good; returns the dead job's id."""
    shard = session.shard
    stream = shard.jobs(stage)
    epoch = await pipe.command("HGET", session.state, "epoch") or b"0"
    await pipe.command("DEL", stream)
    await pipe.command("XGROUP", "CREATE", stream, stage, "0", "MKSTREAM")
    await pipe.command("XADD", stream, "*", "m", payload, "epoch", epoch)
    [(_, [(entry, _)])] = await pipe.command(
        "XREADGROUP", "GROUP", stage, "worker_1", "STREAMS", stream, ">"
    )
    owner = Ownership(shard, stage, "worker_1", entry.decode(), 1, epoch.decode())
    await jobs.bury(pipe, owner, session, payload, error, [])
    [(buried, _)] = await pipe.command("XREVRANGE", shard.dead, "+", "-", "COUNT", 1)
    return f"{shard.number}/{buried.decode()}"


def stt_job(session: SessionKeys) -> SttJob:
    pcm = PCM.tobytes()
    return SttJob(session_id=session.session_id, item_id=new_id("item"), turn=1, pcm=pcm)


async def bury_turn(pipe: Pipe, session: SessionKeys, error: str = "it broke") -> str:
    return await bury(pipe, session, "stt", encode(stt_job(session)), error)


async def waiting(pipe: Pipe, session: SessionKeys, stage: str) -> list[tuple[JobMessage, int]]:
    """The jobs that a worker gets of a stage, with the number of their attempt."""
    stream = session.shard.jobs(stage)
    read = await pipe.command("XREADGROUP", "GROUP", stage, "worker_2", "STREAMS", stream, ">")
    rows = await pipe.command("XPENDING", stream, stage, "-", "+", 10)
    entries = read[0][1] if read else []
    types: dict[str, type[JobMessage]] = {"stt": SttJob, "llm": LlmJob, "tts": TtsJob}
    return [
        (decode(fields_of(flat)[b"m"], types[stage]), row[3])
        for (_, flat), row in zip(entries, rows, strict=True)
    ]


async def attached(pipe: Pipe) -> SessionKeys:
    session = KEYSPACE.session(new_id("sess"))
    status = await sessions.attach(
        pipe, held(session), gateway="gw", token="t", config=SessionConfig()
    )
    assert status == "ok"
    return session


async def test_dead_jobs_of_every_shard_are_listed(pipe: Pipe, redis_url: str) -> None:
    assert "No job is dead" in dead(redis_url, "list").stdout
    ended = [KEYSPACE.session(f"sess_{n}") for n in range(40)]
    buried = [await bury_turn(pipe, session) for session in ended]
    assert len(set(buried)) == 40
    assert {name[0] for name in buried} == {"0", "1", "2"}

    rows = json.loads(dead(redis_url, "list", "--json").stdout)
    assert sorted(row["id"] for row in rows) == sorted(buried)
    assert {row["session"] for row in rows} == {session.session_id for session in ended}
    assert {row["stage"] for row in rows} == {"stt"}
    assert all(0 <= row["age_s"] < 60 for row in rows)
    table = dead(redis_url, "list").stdout
    assert all(name in table for name in buried)


async def test_what_clients_said_cannot_steer_a_terminal(pipe: Pipe, redis_url: str) -> None:
    session = KEYSPACE.session("sess_\x1b[2J[red]")
    name = await bury_turn(pipe, session, "ValueError: \x1b]0;\x07\nno [bold]such\u202e thing")
    for said in (dead(redis_url, "list").stdout, dead(redis_url, "show", name).stdout):
        assert r"ValueError: \x1b]0;\x07\nno [bold]such\u202e thing" in said
        assert r"sess_\x1b[2J[red]" in said
        assert all(sign.isprintable() or sign == "\n" for sign in said)


async def test_a_job_is_shown_whole_but_for_its_audio(
    pipe: Pipe, redis_url: str, tmp_path: Path
) -> None:
    session = await attached(pipe)
    name = await bury_turn(pipe, session)
    sound = tmp_path / "turn.wav"
    said = dead(redis_url, "show", name, "--audio", str(sound)).stdout
    rows = dict(line.strip().split(maxsplit=1) for line in said.splitlines())
    assert rows["id"] == name
    assert rows["session_id"] == session.session_id
    assert rows["session"] == "lives"
    assert rows["error"] == "it broke"
    assert rows["audio"] == "1.00 s"
    assert "pcm" not in rows
    samples, rate = read_wav(sound)
    assert rate == 16_000
    assert samples.tolist() == PCM.tolist()


async def test_only_a_transcription_has_audio(pipe: Pipe, redis_url: str, tmp_path: Path) -> None:
    session = await attached(pipe)
    job = LlmJob(session_id=session.session_id, response_id="resp_1", item_id="item_1")
    name = await bury(pipe, session, "llm", encode(job))
    refused = dead(redis_url, "show", name, "--audio", str(tmp_path / "no.wav"))
    assert refused.returncode == 1
    assert "a job of stage llm has no audio" in refused.stderr
    assert "resp_1" in refused.stdout


async def test_a_transcription_is_put_back_as_new(pipe: Pipe, redis_url: str) -> None:
    session = await attached(pipe)
    name = await bury_turn(pipe, session)
    # what the client said outlives the answer that was cancelled meanwhile
    await sessions.interrupt(pipe, held(session))
    done = dead(redis_url, "retry", name)
    assert done.returncode == 0, done.stderr
    [(job, attempt)] = await waiting(pipe, session, "stt")
    assert isinstance(job, SttJob)
    assert job.pcm == PCM.tobytes()
    assert attempt == 1
    assert listed(redis_url) == []
    again = dead(redis_url, "retry", name)
    assert again.returncode == 1
    assert f"{name}  not put back: it is not among the dead any more" in again.stdout


async def test_an_answer_is_put_back_only_while_it_is_wanted(pipe: Pipe, redis_url: str) -> None:
    session = await open_session(pipe)
    job = await ask(pipe, session, "What is it?")
    wanted = await bury(pipe, session, "llm", encode(job))
    done = dead(redis_url, "retry", wanted)
    assert done.returncode == 0, done.stderr
    assert await waiting(pipe, session, "llm") == [(job, 1)]

    segment = TtsJob(
        session_id=session.session_id,
        response_id=job.response_id,
        segment=0,
        text="It is",
        voice=None,
        speed=1.0,
        sample_rate=24_000,
    )
    unwanted = [await bury(pipe, session, "tts", encode(segment))]
    await sessions.interrupt(pipe, held(session))
    unwanted.append(await bury(pipe, session, "llm", encode(job)))
    refused = dead(redis_url, "retry", *unwanted)
    assert refused.returncode == 1
    assert refused.stdout.count("not put back: its response is over") == 2
    assert "2 of 2 jobs were not put back" in refused.stderr
    assert listed(redis_url) == unwanted


async def test_what_nobody_waits_for_stays_until_it_is_dropped(pipe: Pipe, redis_url: str) -> None:
    living = await attached(pipe)
    good = await bury_turn(pipe, living)
    gone = await bury_turn(pipe, KEYSPACE.session("sess_gone"))
    unreadable = await bury(pipe, living, "stt", b"\xc1")
    shown_ = dead(redis_url, "show", unreadable).stdout
    assert "unreadable message" in shown_
    refused = dead(redis_url, "retry", "--all")
    assert refused.returncode == 1
    verdicts = dict(line.split("  ") for line in refused.stdout.splitlines())
    assert verdicts[good] == "put back"
    assert verdicts[gone] == "not put back: its session has ended"
    assert verdicts[unreadable].startswith("not put back: unreadable message")

    assert dead(redis_url, "drop", gone).returncode == 0
    assert listed(redis_url) == [unreadable]
    assert dead(redis_url, "drop", "--all").returncode == 0
    assert listed(redis_url) == []
    assert dead(redis_url, "drop", gone).returncode == 1


async def test_what_somebody_said_is_not_kept_for_ever(pipe: Pipe, redis_url: str) -> None:
    session = KEYSPACE.session("sess_gone")
    week_s = 7 * 24 * 3600
    now_s = int((await pipe.command("TIME"))[0])
    old, young = ((now_s - week_s + days * 24 * 3600) * 1000 for days in (-1, 1))
    for died_ms in (old, young):
        letter = ("stage", "stt", "m", b"", "epoch", "0", "error", "it broke")
        await pipe.command("XADD", session.shard.dead, f"{died_ms}-0", *letter)
    buried = await bury_turn(pipe, session)
    assert listed(redis_url) == [f"{session.shard.number}/{young}-0", buried]
    assert 0 < await pipe.command("TTL", session.shard.dead) <= week_s


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "5"], "an id looks like 0/1700000000000-0, not '5'"),
        (["show", "0/1-0"], "there is no dead job 0/1-0"),
        (["show", "77/1-0"], "there is no dead job 77/1-0"),
    ],
)
def test_a_mistake_is_one_sentence(redis_url: str, arguments: list[str], sentence: str) -> None:
    done = dead(redis_url, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"parley: {sentence}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["retry"], ["drop", "0/1-0", "--all"]])
def test_it_is_said_which_jobs_are_meant(redis_url: str, arguments: list[str]) -> None:
    done = dead(redis_url, *arguments)
    assert done.returncode == 2
    assert "name jobs by their ids" in done.stderr


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nowhere", "PARLEY_REDIS_URL must look like"),
        ("unix:///nowhere.sock", "the broker gives no answer"),
    ],
)
def test_a_broker_that_is_not_there_is_one_sentence(url: str, sentence: str) -> None:
    done = dead(url, "list")
    assert done.returncode == 1
    assert done.stderr.startswith(f"parley: {sentence}")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with running(tmp_path / "data") as started:
        yield started


async def test_the_broker_of_a_running_up_is_found(up: Up) -> None:
    port = str(up.port)
    config = settings_of(place_of(up.port))
    async with Pipe(connect(config.redis_url)) as pipe:
        session = await open_session(pipe)
        # half a sample: every attempt fails
        poison = SttJob(session_id=session.session_id, item_id="item_1", turn=1, pcm=b"\0")
        await pipe.command("XADD", session.shard.jobs("stt"), "*", "m", encode(poison))

        async def is_dead() -> bool:
            return bool(await pipe.command("XLEN", session.shard.dead))

        await until(is_dead)
        [row] = json.loads(parley("dead", "list", "--json", "--port", port).stdout)
        assert row["session"] == session.session_id
        assert "AudioError" in row["error"]
        assert parley("dead", "retry", row["id"], PARLEY_PORT=port).returncode == 0
        await until(is_dead)
        assert parley("dead", "drop", "--all", "--port", port).returncode == 0


async def test_a_job_put_back_is_done(up: Up) -> None:
    config = settings_of(place_of(up.port))
    async with Pipe(connect(config.redis_url)) as pipe:
        session = await open_session(pipe)
        job = stt_job(session)
        letter = ("stage", "stt", "m", encode(job), "epoch", "0", "error", "it was a bad day")
        await pipe.command("XADD", session.shard.dead, "*", *letter)
        assert parley("dead", "retry", "--all", "--port", str(up.port)).returncode == 0

        async def transcribed() -> bool:
            out = await shown(pipe, session)
            return any(isinstance(m, Transcribed) and m.item_id == job.item_id for m in out)

        await until(transcribed)
