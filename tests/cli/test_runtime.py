"""The folder in which other commands find a running `parley up`."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cli.runtime import occupied, running, settings_of
from shared.settings import Settings

PORT = 8080


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Short of name, as unix sockets need it."""
    with tempfile.TemporaryDirectory(prefix="parley-") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name) / "parley"


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which occupying the place ends."""
    with pytest.raises(typer.Exit), occupied(PORT):
        pass
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def test_it_is_private_and_empty_afterwards(root: Path) -> None:
    config = Settings(redis_url="unix://:secret@/somewhere", shards=3)
    with occupied(PORT) as place:
        assert place.folder == root / str(PORT)
        place.note(config)
        assert mode(place.folder) == 0o700
        assert mode(place.folder / "settings.json") == 0o600
        assert settings_of(place.folder) == config
    assert [path.name for path in place.folder.iterdir()] == ["lock"]


def test_what_a_killed_one_left_is_cleaned_up(root: Path) -> None:
    folder = root / str(PORT)
    with occupied(PORT):
        pass
    (folder / "data").mkdir()
    (folder / "data" / "file").touch()
    (folder / "broker.sock").symlink_to("/nowhere")
    with occupied(PORT):
        assert [path.name for path in folder.iterdir()] == ["lock"]


def test_it_stays_taken_as_long_as_anybody_holds_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with occupied(PORT) as place:
        assert f"another `parley up` on port {PORT} has not ended yet" in refused(capsys)
        heir = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[place.lock.fileno()],
        )
        assert heir.stdout is not None
        heir.stdout.readline()
    assert "has not ended yet" in refused(capsys)
    heir.communicate(b"\n")
    with occupied(PORT):
        pass


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_place_that_is_not_the_users_alone_is_refused(
    root: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / str(PORT)
    root.mkdir()
    if kind == "open":
        folder.mkdir()
        folder.chmod(0o755)
    elif kind == "link":
        folder.symlink_to(root)
    else:
        folder.touch()
    said = refused(capsys)
    assert str(folder) in said
    assert "XDG_RUNTIME_DIR" in said


def test_somebody_elses_place_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / str(PORT)).mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "is not yours alone" in refused(capsys)


def test_too_long_a_path_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(root / ("x" * 80)))
    assert "too long a path for a unix socket" in refused(capsys)


def test_only_where_a_supervisor_answers_does_one_run(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        running(PORT)
    assert f"no `parley up` runs on port {PORT}" in capsys.readouterr().err
    with occupied(9000) as place, socket.socket(socket.AF_UNIX) as supervisor:
        supervisor.bind(str(place.folder / "supervisor.sock"))
        with pytest.raises(typer.Exit):
            running(9000)  # left by one that was killed
        supervisor.listen()
        assert running(9000) == place.folder
        capsys.readouterr()
        with pytest.raises(typer.Exit):
            running(PORT)
        assert "name its port with --port (one runs on 9000)" in capsys.readouterr().err


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
