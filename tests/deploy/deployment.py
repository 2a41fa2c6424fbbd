"""compose.yaml as Docker Compose reads it, and the images that deploy/Dockerfile makes."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROFILES = ("gpu", "melo", "cpu")

Json = dict[str, Any]


@cache
def compose() -> tuple[str, ...]:
    """Docker's own compose where it is installed, else the one among the test packages."""
    try:
        subprocess.run(["docker", "compose", "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return (str(Path(sys.executable).with_name("docker-compose")),)
    return ("docker", "compose")


def read(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Docker Compose on compose.yaml, with these variables and no others of its kinds."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PARLEY_", "COMPOSE_"))}
    return subprocess.run(
        [*compose(), "--project-directory", str(ROOT), *arguments],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def configuration(*profiles: str) -> Json:
    """What `docker compose --profile … config` says."""
    chosen = [argument for name in profiles for argument in ("--profile", name)]
    said = read(*chosen, "config", "--format", "json")
    assert said.returncode == 0, said.stderr
    assert not said.stderr
    result: Json = json.loads(said.stdout)
    return result


def services(*profiles: str) -> dict[str, Json]:
    """The services that these profiles start, by name."""
    found: dict[str, Json] = configuration(*profiles)["services"]
    return found


@dataclass
class Image:
    """One target of deploy/Dockerfile: what of it a container inherits."""

    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


@cache
def images() -> dict[str, Image]:
    """The targets of deploy/Dockerfile, by name."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    text = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
    stages: dict[str, Image] = {}
    image = Image()
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.split()
            parent = stages.get(base, Image())
            image = Image([], {**parent.environment}, parent.command, parent.health)
            stages[name] = image
        elif word == "ARG":
            image.arguments.append(rest.partition("=")[0])
        elif word == "ENV":
            image.environment |= dict(re.findall(r"(\w+)=(\S+)", rest))
        elif word == "CMD":
            image.command = json.loads(rest)
        elif word == "HEALTHCHECK":
            image.health = _command(rest.partition("CMD ")[2])
    return stages


def _command(text: str) -> list[str]:
    command: list[str] = json.loads(text) if text.startswith("[") else ["sh", "-c", text]
    return command


def image_of(service: Json) -> Image:
    """The image of a service that is built here."""
    return images()[service["build"]["target"]]


def command_of(service: Json) -> list[str]:
    """What a service that is built here runs."""
    own: list[str] | None = service.get("command")
    return own or image_of(service).command
