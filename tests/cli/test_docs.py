"""docs/cli.md against the command line: every command is in it, and its blocks are run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from cli.main import app
from tests.support.command import parley
from tests.support.up import Up, running

DOC = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", DOC, re.S) for line in block.splitlines()]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("up") / "data") as started:
        yield started


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_works(up: Up, line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "parley"
    done = parley(*arguments, PARLEY_PORT=str(up.port))
    assert done.returncode == 0, done.stderr


def test_every_command_is_on_the_page() -> None:
    table = DOC.split("## ", 1)[0]
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        [row] = [row for row in table.splitlines() if row.startswith(f"| `parley {name}")]
        for each in getattr(command, "commands", ()):
            assert f"`{each}`" in row or f" {each}`" in row
