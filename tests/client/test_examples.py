"""The examples of docs/clients.md, each run as it stands, before a whole Parley with its models."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.audio import read_wav
from tests.docs.pages import ROOT, fenced
from tests.support.up import Up, running
from tests.support.words import word_error_rate
from tests.web.browser import QUESTION

QUESTION_WAV = ROOT / "tests" / "data" / "question.wav"
SOUND_CARD = ROOT / "tests" / "support" / "sound"
PAGE = ROOT / "docs" / "clients.md"
EXAMPLES = [block for block in fenced(PAGE, "python") if "from client" in block]


@pytest.fixture(scope="module")
def parley(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("examples") / "data", "cpu") as up:
        yield up


def the_one_with(parley: Up, *words: str) -> str:
    """The one example that has these words in it, for this server."""
    [code] = [block for block in EXAMPLES if all(word in block for word in words)]
    assert "ws://127.0.0.1:8080" in code
    return code.replace("ws://127.0.0.1:8080", parley.url)


@pytest.fixture
def example(request: pytest.FixtureRequest, parley: Up, tmp_path: Path) -> str:
    """What the one example prints that has these words in it; it is run in `tmp_path`."""
    shutil.copy(QUESTION_WAV, tmp_path)
    ran = subprocess.run(
        [sys.executable, "-c", the_one_with(parley, *request.param)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def spoken_s(path: Path) -> float:
    samples, rate = read_wav(path)
    assert samples.any()
    return len(samples) / rate


def test_none_is_overlooked() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("example", [("asyncio", "send_file")], indirect=True)
def test_asking_by_file(example: str, tmp_path: Path) -> None:
    heard, answered = example.splitlines()
    assert word_error_rate(QUESTION, heard.removeprefix("you: ")) < 0.3
    assert "Paris" in answered
    assert spoken_s(tmp_path / "answer.wav") > 0.5


@pytest.mark.parametrize("example", [("client.sync", "send_file")], indirect=True)
def test_asking_by_file_without_an_event_loop(example: str, tmp_path: Path) -> None:
    assert "Paris" in example
    assert spoken_s(tmp_path / "answer.wav") > 0.5


@pytest.mark.parametrize("example", [("capital of France",)], indirect=True)
def test_asking_in_writing(example: str) -> None:
    assert "Paris" in example


@pytest.mark.parametrize("example", [("weather",)], indirect=True)
def test_a_function(example: str) -> None:
    called = "weather {'city': 'Paris'} "
    assert example.startswith(called)
    assert example.removeprefix(called).strip()


@pytest.mark.parametrize("example", [("OutputAudioDelta", "cancel")], indirect=True)
def test_interrupting(example: str) -> None:
    assert example == "cancelled\n"


def test_talking(parley: Up, tmp_path: Path) -> None:
    """A made-up sound card hears the question, and gets the answer to play."""
    played = tmp_path / "played"
    played.touch()
    running = subprocess.Popen(
        [sys.executable, "-c", the_one_with(parley, "converse")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(SOUND_CARD)]),
            "SOUND_RECORDING": str(QUESTION_WAV),
            "SOUND_PLAYED": str(played),
        },
        stderr=subprocess.PIPE,
        text=True,
    )

    def heard() -> bool:
        assert running.poll() is None
        return bool(np.count_nonzero(np.fromfile(played, np.int16)) > 24_000)

    try:
        parley.wait_for(heard)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=30)[1].endswith("KeyboardInterrupt\n")
    finally:
        running.kill()
        running.wait()
