"""Every command in the documentation is executed, as far as this machine can.

Those of `parley` run against a system that is up. What would take it down, takes minutes, or needs
an id or a server of the reader's own, has its arguments read by the command itself, and so has what
sentences only mention: other tests run it.
"""

import importlib.util
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from shared.settings import Settings
from tests.docs.pages import PAGES, ROOT, Command, commands, settings
from tests.support.command import parley
from tests.support.up import Up, running

_ONLY_READ = {"up", "restart", "bench", "talk", "fetch", "show", "retry", "drop", "close"}
# Run by tests/deploy and tests/images, or other projects' own.
_ELSEWHERE = {
    *("docker", "git", "cd", "pip", "sh", "for", "export", "jq"),
    *("vllm", "text-generation-launcher", "llama-server", "ollama"),
}
_PLACEHOLDERS = {"NAME": "ada", "ID": "sess_0123456789abcdef01234567", "N": "1"}

COMMANDS = sorted({each for page in PAGES for each in commands(page)}, key=str)
PARLEY = [command for command in COMMANDS if command.words[0] == "parley"]
PYTHON = [command for command in COMMANDS if command.words[:2] == ("python", "-m")]
MAKE = sorted({command.words[1] for command in COMMANDS if command.words[0] == "make"})
CURL = [command for command in COMMANDS if command.words[0] == "curl"]
SETTINGS = [(page, chosen) for page in PAGES for chosen in settings(page)]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("system") / "data") as up:
        yield up


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command is run: the recordings that the pages speak of are there."""
    shutil.copytree(ROOT / "tests" / "data", tmp_path / "tests" / "data")
    shutil.copy(ROOT / "tests" / "data" / "question.wav", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def test_no_command_is_overlooked() -> None:
    known = {"parley", "python", "make", "curl", *_ELSEWHERE}
    assert [str(command) for command in COMMANDS if command.words[0] not in known] == []
    assert sum(command.whole for command in PARLEY) >= 2
    assert len(PARLEY) > 20
    assert len(PYTHON) > 8
    assert len(SETTINGS) > 8
    assert {"up", "test", "chaos"} <= {*MAKE}


@pytest.mark.parametrize("command", PARLEY, ids=str)
def test_what_parley_is_asked(command: Command, system: Up, folder: Path) -> None:
    words = [_PLACEHOLDERS.get(word, word) for word in command.words[1:]]
    if not command.whole or _ONLY_READ & {*words[:2]} or any("…" in word for word in words):
        read = CliRunner().invoke(app, [*words, "--help"])
        assert read.exit_code == 0, read.output
        return
    if words[0] == "top" and "--once" not in words:
        words.append("--once")
    elif words[0] == "say":
        words += ["--url", system.url]
    ran = parley(*words, PARLEY_PORT=str(system.port), PARLEY_PROFILE="instant")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("command", PYTHON, ids=str)
def test_what_python_runs(command: Command, folder: Path) -> None:
    module, *words = [_PLACEHOLDERS.get(word, word) for word in command.words[2:]]
    assert importlib.util.find_spec(module) is not None
    if module.startswith("bench."):
        asked = [sys.executable, "-m", module, *words, "--help"]
        ran = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("target", MAKE)
def test_what_make_makes(target: str) -> None:
    asked = ["make", "--dry-run", "--directory", str(ROOT), target]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", CURL, ids=str)
def test_what_is_asked_over_http(command: Command, system: Up) -> None:
    url = command.words[-1].replace(":8080", f":{system.port}")
    with urllib.request.urlopen(url) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(("page", "chosen"), SETTINGS, ids=lambda each: getattr(each, "name", ""))
def test_what_is_set_is_a_setting(
    page: Path, chosen: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {name: value for name, value in chosen.items() if name.startswith("PARLEY_")}
    of_the_command_line = {"PARLEY_API_KEY"}
    known = {f"PARLEY_{name.upper()}" for name in Settings.model_fields} | of_the_command_line
    assert {*ours} <= known
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    Settings()
