"""The container engine of this machine: docker, podman or buildah, whichever is there.

Containers use this machine's network. What an engine needs on this machine, such as mounts with the
settings of package registries, goes into PARLEY_IMAGES_BUILD_ARGS; it is added to every build.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from shared.ids import new_id

ROOT = Path(__file__).parents[2]
_DEADLINE_S = 180

# Run inside a container: one line of JSON for each process that descends from the one named.
_LIST = """
import json, psutil, sys
root = psutil.Process(int(sys.argv[1]))
for each in [root, *root.children(recursive=True)]:
    try:
        said = each.as_dict(["pid", "status", "cmdline"])
    except psutil.NoSuchProcess:
        continue
    print(json.dumps([said["pid"], said["status"], said["cmdline"] or []]))
"""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a container."""

    pid: int
    zombie: bool
    command: list[str]


class Engine(Protocol):
    """What tests ask of a container engine."""

    def build(self, target: str, tag: str, **arguments: str) -> None:
        """Builds one target of deploy/Dockerfile."""
        ...

    def size_bytes(self, tag: str) -> int: ...

    def remove(self, tag: str) -> None: ...

    def run(self, tag: str, *command: str) -> str:
        """What a command prints in a new container."""
        ...

    def start(
        self, tag: str, log: Path, command: tuple[str, ...], variables: Mapping[str, str]
    ) -> "Container":
        """Starts a new container with a command, or its image's own."""
        ...


class Container:
    """A container that runs in the foreground of `process`, whose exit status is its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def run(self, *command: str) -> int:
        """Runs a command inside; returns its exit status."""
        raise NotImplementedError

    def processes(self) -> list[Process]:
        """The processes inside."""
        raise NotImplementedError

    def kill(self, process: Process) -> None:
        """Ends a process inside with SIGKILL."""
        raise NotImplementedError

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_DEADLINE_S)

    def remove(self) -> None:
        """Removes what is left of it once it has ended."""

    def worker(self, stage: str) -> Process | None:
        found = [each for each in self.processes() if f"workers.{stage}" in each.command]
        return found[0] if found else None

    def until_answers(self, url: str) -> None:
        """Returns when `url` answers with 200."""
        deadline = time.monotonic() + _DEADLINE_S
        while not _answers(url):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _checked(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _options(name: str, values: Mapping[str, str]) -> list[str]:
    return [part for key, value in values.items() for part in (name, f"{key}={value}")]


def _build_arguments(target: str, tag: str, arguments: Mapping[str, str]) -> list[str]:
    here = shlex.split(os.environ.get("PARLEY_IMAGES_BUILD_ARGS", ""))
    given = _options("--build-arg", arguments)
    return [*here, *given, "--target", target, "--tag", tag, "--file", "deploy/Dockerfile", "."]


def _parsed(lines: str) -> list[Process]:
    rows = map(json.loads, lines.splitlines())
    return [Process(pid, status == psutil.STATUS_ZOMBIE, command) for pid, status, command in rows]


class Docker:
    """docker or podman, which takes the same commands."""

    def __init__(self, program: str) -> None:
        self._program = program
        # A health check is something that the default format of podman's images lacks.
        self._format = ["--format", "docker"] if program == "podman" else []

    def build(self, target: str, tag: str, **arguments: str) -> None:
        _checked(self._program, "build", *self._format, *_build_arguments(target, tag, arguments))

    def size_bytes(self, tag: str) -> int:
        return int(_checked(self._program, "image", "inspect", "--format", "{{.Size}}", tag))

    def remove(self, tag: str) -> None:
        _checked(self._program, "image", "rm", tag)

    def run(self, tag: str, *command: str) -> str:
        return _checked(self._program, "run", "--rm", tag, *command)

    def start(
        self, tag: str, log: Path, command: tuple[str, ...], variables: Mapping[str, str]
    ) -> Container:
        name = new_id("images")
        options = ["--rm", "--network", "host", "--name", name, *_options("--env", variables)]
        with log.open("w") as out:
            process = subprocess.Popen(
                [self._program, "run", *options, tag, *command],
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return _DockerContainer(process, log, self._program, name)


class _DockerContainer(Container):
    def __init__(
        self, process: subprocess.Popen[bytes], log: Path, program: str, name: str
    ) -> None:
        super().__init__(process, log)
        self._exec = [program, "exec", name]

    def run(self, *command: str) -> int:
        return subprocess.run([*self._exec, *command], check=False).returncode

    def processes(self) -> list[Process]:
        return _parsed(_checked(*self._exec, "python", "-c", _LIST, "1"))

    def kill(self, process: Process) -> None:
        ending = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGKILL)"
        _checked(*self._exec, "python", "-c", ending, str(process.pid))


class Buildah:
    """buildah in a chroot, which runs where no other engine does, and as root."""

    _chroot = ("--isolation", "chroot")

    def build(self, target: str, tag: str, **arguments: str) -> None:
        given = _build_arguments(target, tag, arguments)
        _checked("buildah", "build", *self._chroot, "--format", "docker", *given)

    def size_bytes(self, tag: str) -> int:
        container = self._container(tag)
        try:
            root = _checked("buildah", "mount", container).strip()
            return 1024 * int(_checked("du", "-skx", root).split()[0])
        finally:
            _checked("buildah", "rm", container)

    def remove(self, tag: str) -> None:
        _checked("buildah", "rmi", tag)

    def run(self, tag: str, *command: str) -> str:
        container = self._container(tag)
        try:
            return _checked("buildah", "run", *self._chroot, container, "--", *command)
        finally:
            _checked("buildah", "rm", container)

    def start(
        self, tag: str, log: Path, command: tuple[str, ...], variables: Mapping[str, str]
    ) -> Container:
        image = json.loads(_checked("buildah", "inspect", "--type", "image", tag))
        command = command or image["Docker"]["config"]["Cmd"]
        container = self._container(tag)
        running = ["buildah", "run", *self._chroot, *_options("--env", variables), container, "--"]
        with log.open("w") as out:
            process = subprocess.Popen([*running, *command], stdout=out, stderr=subprocess.STDOUT)
        return _BuildahContainer(process, log, container, running)

    def _container(self, tag: str) -> str:
        return _checked("buildah", "from", "--pull-never", tag).strip()


class _BuildahContainer(Container):
    def __init__(
        self, process: subprocess.Popen[bytes], log: Path, name: str, running: list[str]
    ) -> None:
        super().__init__(process, log)
        self._name = name
        self._running = running

    def run(self, *command: str) -> int:
        return subprocess.run([*self._running, *command], check=False).returncode

    def _main(self) -> psutil.Process:
        """The container's first process; the ids of this machine's processes are its own, too."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return next(each for each in family if not each.cmdline()[:1][0].startswith("buildah"))

    def processes(self) -> list[Process]:
        return _parsed(_checked(sys.executable, "-c", _LIST, str(self._main().pid)))

    def kill(self, process: Process) -> None:
        os.kill(process.pid, signal.SIGKILL)

    def stop(self) -> int:
        main = self._main()
        family = main.children(recursive=True)
        main.terminate()  # buildah passes no signal on
        status = self.process.wait(_DEADLINE_S)
        _, left = psutil.wait_procs(family, timeout=10)
        assert not left
        return status

    def remove(self) -> None:
        _checked("buildah", "rm", self._name)


def find_engine() -> Engine:
    """The engine of this machine.

    Raises:
        AssertionError: there is none.
    """
    for program in ("docker", "podman"):
        if (
            shutil.which(program)
            and not subprocess.run([program, "info"], capture_output=True, check=False).returncode
        ):
            return Docker(program)
    assert shutil.which("buildah"), "this takes docker, podman or buildah"
    return Buildah()


@contextmanager
def running(
    engine: Engine, tag: str, log: Path, *command: str, **variables: str
) -> Iterator[Container]:
    """A container, which is stopped at the end of the block if it has not ended by then."""
    container = engine.start(tag, log, command, variables)
    try:
        yield container
    finally:
        if container.process.poll() is None:
            container.stop()
        container.remove()
