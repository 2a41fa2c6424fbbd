"""The processes of compose.yaml without their containers: its commands, its environment, its
secrets. Only paths and addresses are others, those of this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from cli.broker import bundled_server
from tests.deploy.deployment import ROOT, Json, command_of, image_of, services
from tests.support.up import free_port


def make_secrets(place: Path) -> tuple[Path, str]:
    """Runs deploy/secrets.sh as if `place` were the checkout: its folder, and the first key."""
    script = place / "deploy" / "secrets.sh"
    script.parent.mkdir()
    script.write_text((ROOT / "deploy" / "secrets.sh").read_text())
    said = subprocess.run(["sh", script], capture_output=True, text=True, check=True)
    return place / "secrets", said.stdout.strip()


class Stack:
    """The services of a profile, as processes in `place` with engines that need no models."""

    def __init__(self, place: Path, profile: str) -> None:
        self.services = services(profile)
        self.port, self.broker_port = free_port(), free_port()
        self.data, self._log = place / "data", place / "log"
        self.data.mkdir()
        self._secrets, self.key = make_secrets(place)
        url = self._secrets / "PARLEY_REDIS_URL"
        self.broker_url = (
            url.read_text().strip().replace("broker:6379", f"127.0.0.1:{self.broker_port}")
        )
        url.chmod(0o600)
        url.write_text(self.broker_url)
        self._path = self._programs(place / "bin")
        self._opened = ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Runs one container's main process."""
        service = self.services[name]
        command = command_of(service)
        if name == "broker":
            command = [*command, "--port", str(self.broker_port), "--bind", "127.0.0.1"]
        process = subprocess.Popen(
            [self._here(word) for word in command],
            env=self._environment(service),
            cwd=ROOT,
            stdout=self._writing(),
            stderr=subprocess.STDOUT,
        )
        self._processes.append(process)
        return process

    def is_healthy(self, name: str) -> bool:
        """Runs a container's health check."""
        service = self.services[name]
        kind, *check = service.get("healthcheck", {}).get("test") or [
            "CMD",
            *image_of(service).health,
        ]
        if kind == "CMD-SHELL":
            check = ["sh", "-c", check[0].replace("$$", "$")]
        said = subprocess.run(
            [self._here(word) for word in check],
            env=self._environment(service),
            cwd=ROOT,
            stdout=self._writing(),
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
        return said.returncode == 0

    def stop(self) -> list[int]:
        """Tells all that still run to stop, the broker last; returns how they ended."""
        running = [process for process in self._processes if process.poll() is None]
        for process in [*running[1:], *running[:1]]:
            process.terminate()
            process.wait(30)
        self._opened.close()
        return [process.returncode for process in running]

    def _writing(self) -> IO[bytes]:
        return self._opened.enter_context(self._log.open("ab"))

    def _programs(self, folder: Path) -> str:
        """A search path on which the images' programs are those of this checkout."""
        folder.mkdir()
        valkey = bundled_server()[0].parent
        for name, command in {
            "parley": f"{sys.executable} -c 'from cli.main import app; app()'",
            "python": sys.executable,
            "valkey-cli": f"{valkey / 'valkey-cli'} -p {self.broker_port}",
            "valkey-server": str(valkey / "valkey-server"),
        }.items():
            program = folder / name
            program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            program.chmod(0o755)
        return f"{folder}{os.pathsep}{os.environ['PATH']}"

    def _here(self, text: str) -> str:
        if text == "/data":
            return str(self.data)
        return text.replace("/run/secrets", str(self._secrets))

    def _environment(self, service: Json) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")}
        given = {k: self._here(v) for k, v in service.get("environment", {}).items()}
        here = {"PARLEY_PROFILE": "instant", "PARLEY_PORT": str(self.port), "PATH": self._path}
        # A container has an address of its own, and here all processes share one.
        here |= {"PARLEY_METRICS_PORT": str(free_port()), "PARLEY_METRICS_HOST": "127.0.0.1"}
        return {**kept, **given, **here}


@contextmanager
def stack(place: Path, profile: str) -> Iterator[Stack]:
    """A stack that is stopped at the end of the block."""
    made = Stack(place, profile)
    try:
        yield made
    finally:
        made.stop()
