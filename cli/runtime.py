"""Where a running `parley up` keeps what other commands need to reach it.

That is one folder for each port, at a place that any command can name, open to its owner alone:
supervisord's socket and configuration, the embedded broker's socket, and the settings that its
processes run with, the broker's address among them.
"""

import fcntl
import os
import shutil
import socket
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
from platformdirs import user_runtime_path

from cli.broker import LONGEST_SOCKET_PATH
from cli.console import fail
from shared.settings import Settings

# supervisord binds its socket under this name and then renames it.
_LONGEST_SOCKET_NAME = "supervisor.sock.4194304"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one `parley up`. `lock` holds it: whoever inherits it holds it too."""

    folder: Path
    lock: IO[str]

    def note(self, config: Settings) -> None:
        """Leaves for other commands the settings that the processes run with."""
        path = self.folder / "settings.json"
        path.touch(mode=0o600)
        path.write_text(config.model_dump_json())


@contextmanager
def occupied(port: int) -> Iterator[Place]:
    """The place of the `parley up` on `port`, empty; it is emptied again at the end.

    Ends the command when it is another's.
    """
    folder = _root() / str(port)
    if len(os.fsencode(folder / _LONGEST_SOCKET_NAME)) > LONGEST_SOCKET_PATH:
        fail(f"{folder} is too long a path for a unix socket: set XDG_RUNTIME_DIR to a shorter one")
    _make_private(folder)
    with (folder / _LOCK).open("a") as lock:
        if not _locked(lock):
            fail(
                f"another `parley up` on port {port} has not ended yet:"
                " try again, or choose another port with --port"
            )
        _empty(folder)
        try:
            yield Place(folder, lock)
        finally:
            _empty(folder)


def running(port: int) -> Path:
    """The folder of the `parley up` that runs on `port`; ends the command when there is none."""
    folder = _root() / str(port)
    if _lives(folder):
        return folder
    ports = [place.name for place in sorted(_root().glob("*")) if _lives(place)]
    advice = "start one, or set PARLEY_REDIS_URL for a system elsewhere"
    if ports:
        advice = f"name its port with --port (one runs on {' and on '.join(ports)})"
    fail(f"no `parley up` runs on port {port} of this machine: {advice}")


def settings_of(folder: Path) -> Settings:
    """The settings that the processes of a running `parley up` have, given its folder."""
    return Settings(**msgspec.json.decode((folder / "settings.json").read_bytes()))


def _root() -> Path:
    with warnings.catch_warnings():
        # It falls back to a private folder of its own, and says so each time.
        warnings.simplefilter("ignore")
        try:
            return user_runtime_path("parley", ensure_exists=True)
        except OSError as error:
            fail(f"there is no private folder for sockets on this machine: {error}")


def _make_private(folder: Path) -> None:
    """Makes `folder` at need; ends the command if anybody else could change what is in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{folder} cannot be made ({error.strerror}): remove it, or set XDG_RUNTIME_DIR")
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    if not private or found.st_uid != os.geteuid():
        fail(f"{folder} is not yours alone: remove it, or set XDG_RUNTIME_DIR")


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _empty(folder: Path) -> None:
    """Removes what a `parley up` left in its folder, which only its lock's holder may do."""
    for path in folder.iterdir():
        if path.name == _LOCK:
            continue  # were it removed, two could each lock one of their own
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _lives(folder: Path) -> bool:
    """Whether a supervisord answers there."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(folder / "supervisor.sock"))
        except OSError:
            return False
    return True
