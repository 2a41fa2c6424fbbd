"""`parley sessions`: of a broker with sessions on it, and of a running system."""

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from client import Parley
from shared.broker import Pipe
from shared.ids import new_id
from shared.messages import FunctionCall, FunctionOutput, Item, SessionConfig, Tool, Tooling
from shared.scripts import sessions
from tests.stages import ask, held, open_session
from tests.support.command import parley
from tests.support.up import Up, running

NOBODY = "sess_0123456789abcdef01234567"
SECRET = "You are the keeper of Pier 9."


def asked(redis_url: str, *arguments: str) -> CompletedProcess[str]:
    broker = {"PARLEY_REDIS_URL": redis_url, "PARLEY_SHARDS": "1", "PARLEY_LANES": "1"}
    return parley("sessions", *arguments, **broker)


def told(redis_url: str, *arguments: str) -> Any:
    ran = asked(redis_url, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


async def test_nobody_is_there(redis_url: str) -> None:
    assert told(redis_url, "list") == []
    ran = asked(redis_url, "list")
    assert (ran.returncode, ran.stdout) == (0, "Nobody is in a session.\n")


async def test_what_is_known_of_sessions(pipe: Pipe, redis_url: str) -> None:
    quiet = await open_session(pipe, SessionConfig(voice="joe", language="fr", modality="text"))
    answering = await open_session(pipe)
    await ask(pipe, answering, "How deep is the harbour?")
    listed = {session["id"]: session for session in told(redis_url, "list")}
    assert listed.keys() == {quiet.session_id, answering.session_id}
    first = listed[quiet.session_id]
    assert (first["voice"], first["language"], first["modality"]) == ("joe", "fr", "text")
    assert (first["state"], first["items"], first["gateway"]) == ("idle", 0, None)
    assert 0 < first["ends_in_s"] <= 75
    assert 0 <= first["age_s"] < 60
    second = listed[answering.session_id]
    assert (second["state"], second["items"]) == ("answering", 1)
    printed = asked(redis_url, "list").stdout
    assert "harbour" not in printed
    assert all(name in printed for name in listed)


async def test_what_is_private_is_shown_when_it_is_asked_for(pipe: Pipe, redis_url: str) -> None:
    tooling = Tooling(tools=[Tool(name="tide", description=SECRET, parameters="{}")])
    config = SessionConfig(instructions=SECRET, tooling=tooling, speed=1.5)
    session = await open_session(pipe, config)
    call = FunctionCall(item_id=new_id("item"), call_id="call_1", name="tide", arguments="{}")
    output = FunctionOutput(item_id=new_id("item"), call_id="call_1", output="low")
    for item in (Item.of(new_id("item"), "user", "How \x1b[31mdeep?"), call, output):
        await sessions.add_item(pipe, held(session), item)
    shown = told(redis_url, "show", session.session_id)
    assert shown["conversation"] is None
    assert shown["configuration"]["speed"] == 1.5
    for printed in (json.dumps(shown), asked(redis_url, "show", session.session_id).stdout):
        assert "Pier 9" not in printed
        assert "deep" not in printed
    whole = told(redis_url, "show", session.session_id, "--text")
    assert whole["configuration"]["instructions"] == SECRET
    assert [(said["role"], said["text"]) for said in whole["conversation"]] == [
        ("user", "How \x1b[31mdeep?"),
        ("function call", "tide({})"),
        ("function output", "low"),
    ]
    printed = asked(redis_url, "show", session.session_id, "--text").stdout
    assert "deep?" in printed
    assert "\x1b[31m" not in printed, "what a client said does not steer the terminal"


async def test_a_session_is_ended(pipe: Pipe, redis_url: str) -> None:
    session, other = await open_session(pipe), await open_session(pipe)
    ran = asked(redis_url, "close", session.session_id)
    assert (ran.returncode, ran.stdout) == (0, f"{session.session_id}  ended\n")
    assert [each["id"] for each in told(redis_url, "list")] == [other.session_id]


@pytest.mark.parametrize("command", ["show", "close"])
@pytest.mark.parametrize(
    ("name", "problem"),
    [(NOBODY, f"there is no session {NOBODY}"), ("../x", "an id looks like sess_")],
)
async def test_a_session_that_is_not_there(
    redis_url: str, command: str, name: str, problem: str
) -> None:
    ran = asked(redis_url, command, name)
    assert ran.returncode == 1
    assert problem in ran.stderr
    assert "parley sessions list" in ran.stderr


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with running(tmp_path / "data") as started:
        yield started


async def test_the_client_of_a_session_that_is_ended_hears_no_more(up: Up) -> None:
    port = {"PARLEY_PORT": str(up.port)}
    async with Parley(up.url) as session:
        [found] = json.loads(parley("sessions", "list", "--json", **port).stdout)
        assert found["gateway"] is not None
        completed = parley("sessions", "show", found["id"], **port)
        assert completed.returncode == 0
        assert parley("sessions", "close", found["id"], **port).returncode == 0
        said = [event.type async for event in session.events()]
        assert said == ["session.created"], "and nothing more: it is not resumed"
    assert json.loads(parley("sessions", "list", "--json", **port).stdout) == []
