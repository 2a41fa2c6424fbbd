"""What the command line says of itself, completes, and ends with."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from cli.main import app
from shared.audio import write_wav
from tests.support.command import parley


def commands(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path
        return
    for name, each in inner.items():
        yield from commands(each, (*path, name))


ALL = sorted(commands(get_command(app)))
# Its own parser answers, since its options are for the program behind it.
OWN = [words for words in ALL if words != ("bench",)]


@pytest.mark.parametrize("words", OWN, ids=" ".join)
def test_help_has_an_example(words: tuple[str, ...]) -> None:
    done = parley(*words, "--help")
    assert done.returncode == 0
    _, _, examples = done.stdout.partition("Examples:")
    assert f"parley {' '.join(words)}" in examples


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["sessions", "show", "nobody"], 1),
        (["top", "--json"], 2),
        (["nothing"], 2),
        (["sessions", "show"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    assert parley(*arguments).returncode == code


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["say"], "missing argument 'question' (see `parley say --help`)"),
        (["sya"], "no such command 'sya'. Did you mean 'say'? (see `parley --help`)"),
        (["top", "--json"], "invalid value for --json: it is for --once (see `parley top --help`)"),
        (["talk", "--micro"], "no such option: --micro"),
        (["log-level", "loud"], "invalid value for 'level': 'loud' is not one of 'debug', "),
        (["models", "fetch", "--stage", "[bold]x"], "'--stage': '[bold]x' is not one of 'vad', "),
    ],
)
def test_a_wrong_command_line_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = parley(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("parley: ")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("group", [[], ["sessions"], ["dead"], ["models"], ["keys"]])
def test_a_group_alone_shows_its_help(group: list[str]) -> None:
    done = parley(*group)
    assert (done.returncode, done.stderr) == (2, "")
    assert "Usage: " in done.stdout


@pytest.mark.parametrize("url", ["nowhere", "http://[::1", "ws://here:port", "ws://here:99999"])
def test_no_address_of_a_server_is_one_sentence(url: str, tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    write_wav(question, np.zeros(240, np.int16), 24_000)
    done = parley("say", str(question), "--url", url)
    assert done.returncode == 1
    assert done.stderr == f"parley: url must look like ws://127.0.0.1:8080, not {url!r}\n"


def completed(line: str) -> list[str]:
    """What bash is offered at the end of `line`."""
    script = "from cli.main import app; app(prog_name='parley')"
    asked = {
        "_PARLEY_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_shell_completes_commands() -> None:
    assert completed("parley sess") == ["sessions"]
    assert set(completed("parley sessions ")) == {"list", "show", "close"}


def test_a_shell_is_told_how_to_complete() -> None:
    assert "--install-completion" in parley("--help").stdout


@pytest.mark.parametrize("broken", ["a folder is asked for", "not UTF-8"])
def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path, broken: str) -> None:
    secrets = tmp_path / "secrets"
    if broken == "not UTF-8":
        secrets.mkdir()
        (secrets / "PARLEY_LLM_API_KEY").write_bytes(b"\xff\xfesecret")
        setting = "PARLEY_LLM_API_KEY: "
    else:
        secrets.write_text("secret")
        setting = "PARLEY_SECRETS_DIR: "
    done = parley("models", "list", PARLEY_SECRETS_DIR=str(secrets))
    assert done.returncode == 1
    assert done.stderr.startswith(f"parley: {setting}")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr
