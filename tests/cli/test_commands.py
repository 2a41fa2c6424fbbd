"""The commands that look at this machine, run as a person would run them."""

import os
import re
import socket
from pathlib import Path

import pytest

from cli.broker import Broker, find_server
from tests.docs.pages import ROOT
from tests.support.command import parley

SOUND_CARD = ROOT / "tests" / "support" / "sound"


@pytest.fixture
def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def verdicts(report: str) -> dict[str, str]:
    """What the doctor checked -> its verdict."""
    lines = [re.split(r"\s{2,}", line) for line in report.splitlines()]
    return {what: verdict for verdict, what, *_ in lines}


def test_without_a_command_it_helps() -> None:
    said = parley().stdout
    for command in ("up", "restart", "say", "doctor", "dead", "models"):
        assert command in said


def test_the_doctor_finds_nothing_wrong_without_models(free_port: str) -> None:
    done = parley("doctor", PARLEY_PROFILE="instant", PARLEY_PORT=free_port)
    assert done.returncode == 0, done.stdout
    assert set(verdicts(done.stdout)) == {
        "python",
        "broker",
        f"port {free_port}",
        "cores",
        "memory",
        "sound for `parley talk`",
    }


@pytest.mark.parametrize(
    ("devices", "verdict", "finding"),
    [("2", "ok", "a microphone and a speaker"), ("0", "warn", "this machine has no microphone")],
)
def test_the_doctor_looks_for_sound(
    free_port: str, devices: str, verdict: str, finding: str
) -> None:
    path = os.pathsep.join([str(SOUND_CARD), str(ROOT)])
    settings = {"PARLEY_PROFILE": "instant", "PARLEY_PORT": free_port, "PYTHONPATH": path}
    done = parley("doctor", SOUND_DEVICES=devices, **settings)
    assert done.returncode == 0
    assert verdicts(done.stdout)["sound for `parley talk`"] == verdict
    assert finding in done.stdout


def test_the_doctor_warns_of_models_that_are_not_here_yet(free_port: str, tmp_path: Path) -> None:
    done = parley("doctor", PARLEY_PORT=free_port, PARLEY_MODELS_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout
    found = verdicts(done.stdout)
    assert found["model silero-vad"] == "warn"
    assert "parley models fetch silero-vad" in done.stdout
    assert found["stt: faster-whisper"] == "ok"


def test_the_doctor_fails_a_model_that_is_none(free_port: str, tmp_path: Path) -> None:
    done = parley(
        "doctor", PARLEY_PORT=free_port, PARLEY_MODELS_DIR=str(tmp_path), PARLEY_STT_MODEL="whispr"
    )
    assert done.returncode == 1
    assert verdicts(done.stdout)["model whispr"] == "fail"


def test_the_doctor_fails_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = parley("doctor", PARLEY_PROFILE="instant", PARLEY_PORT=port)
    assert done.returncode == 1
    assert verdicts(done.stdout)[f"port {port}"] == "fail"


def test_the_doctor_asks_the_broker_that_is_named(free_port: str, tmp_path: Path) -> None:
    settings = {"PARLEY_PROFILE": "instant", "PARLEY_PORT": free_port}
    with Broker(find_server(), tmp_path / "b") as broker:
        done = parley("doctor", PARLEY_REDIS_URL=broker.url, **settings)
    assert verdicts(done.stdout)["broker"] == "ok"
    assert broker.url not in done.stdout
    done = parley("doctor", PARLEY_REDIS_URL=broker.url, **settings)
    assert done.returncode == 1
    assert verdicts(done.stdout)["broker"] == "fail"


def test_the_list_says_what_is_here(tmp_path: Path) -> None:
    fetched = parley("models", "fetch", "speech-samples", PARLEY_MODELS_DIR=str(tmp_path))
    assert fetched.returncode == 0, fetched.stderr
    done = parley("models", "list", PARLEY_MODELS_DIR=str(tmp_path), PARLEY_LLM_MODEL="owner/name")
    rows = {row[0]: row[-1] for line in done.stdout.splitlines() if (row := line.split())}
    assert rows["speech-samples"] == "yes"
    assert rows["whisper-base"] == "no"
    assert "* owner/name" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (["models", "fetch", "nothing"], {}, "'nothing' is neither in the starter pack"),
        (["doctor"], {"PARLEY_PORT": "http"}, "PARLEY_PORT: "),
        (["up", "--profile", "huge"], {}, "--profile: "),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], variables: dict[str, str], sentence: str
) -> None:
    done = parley(*arguments, **variables)
    assert done.returncode == 1
    assert done.stderr.startswith(f"parley: {sentence}")
    assert len(done.stderr.splitlines()) == 1


def test_the_doctor_names_what_the_gpu_profile_lacks(free_port: str, tmp_path: Path) -> None:
    """Where the tests run there is no GPU, nor are the packages for one installed."""
    done = parley("doctor", PARLEY_PROFILE="gpu", PARLEY_PORT=free_port)
    assert done.returncode == 1
    assert (
        verdicts(done.stdout).items()
        >= {"gpu": "fail", "llm: transformers": "fail", "tts: meloplus": "fail"}.items()
    )
    assert "pip install 'parley[gpu]'" in done.stdout


def test_the_doctor_tries_the_python_of_the_speech_stage(free_port: str) -> None:
    done = parley("doctor", PARLEY_PORT=free_port, PARLEY_TTS_PYTHON="/nowhere/python")
    assert verdicts(done.stdout)["tts: PARLEY_TTS_PYTHON"] == "fail"
