"""What deploy/Dockerfile says, held against the code; `make images-test` builds it."""

import fnmatch
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.main import get_group

from cli.health import PARTS
from cli.main import app
from shared.profiles import STAGES
from tests.deploy.deployment import ROOT, images

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
TARGETS = ["gateway", *STAGES, "tts-melo", "all-in-one"]
VARIANTS = ["cpu", "gpu"]


def kept_out(path: str) -> bool:
    """Whether .dockerignore keeps a path out of a build."""
    out = False
    for pattern in (ROOT / ".dockerignore").read_text().split():
        parts = [path, *(str(parent) for parent in (ROOT / path).relative_to(ROOT).parents)]
        if any(fnmatch.fnmatch(part, pattern.removeprefix("!")) for part in parts):
            out = not pattern.startswith("!")
    return out


def test_every_process_has_an_image() -> None:
    assert set(TARGETS) <= set(images())
    for target in TARGETS:
        assert images()[target].command, target
        assert images()[target].health, target


def test_nothing_runs_as_root() -> None:
    for stage in re.split(r"(?m)^FROM ", DOCKERFILE)[1:]:
        name = stage.split()[2]
        if name in TARGETS:
            assert re.findall(r"(?m)^USER (.*)$", stage)[-1:] == ["parley"], name


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_extra_that_is_installed_exists(variant: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    installed = re.findall(r"deploy/image/install (\S+)", DOCKERFILE)
    assert {f"{stage}-${{VARIANT}}" for stage in STAGES} <= set(installed)
    for extra in installed:
        assert extra.replace("${VARIANT}", variant) in extras


def test_the_images_hold_the_packages_and_nothing_private() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    for package in packages["targets"]["wheel"]["packages"]:
        assert not kept_out(f"{package}/__init__.py")
        assert kept_out(f"{package}/__pycache__")
    for path in ("LICENSE", "NOTICE", "constraints.txt", "deploy/image/install"):
        assert not kept_out(path)
        assert (ROOT / path).exists()
    for path in (".git", ".env", "secrets", "secrets/PARLEY_API_KEYS", "parley.env", "tests"):
        assert kept_out(path)


def test_every_script_runs() -> None:
    for script in (ROOT / "deploy" / "image").iterdir():
        if script.suffix or not script.is_file():
            continue
        assert os.access(script, os.X_OK), script
        subprocess.run(["sh", "-n", script], check=True)


def test_every_command_is_one() -> None:
    names = set(get_group(app).commands)
    for target in TARGETS:
        match images()[target].command:
            case ["parley", command, *stage]:
                assert command in names
                assert set(stage) <= set(STAGES)
            case ["python", "-P", "-m", module]:
                assert (ROOT / module / "__main__.py").exists()
            case [script]:
                assert (ROOT / script).exists()
            case other:
                pytest.fail(f"{target} runs {other}")
        *_, module, part = " ".join(images()[target].health).split()
        assert (module, part in PARTS) == ("cli.health", True), target


def test_what_no_licence_lets_unsaid_is_said() -> None:
    notice = (ROOT / "NOTICE").read_text()
    for name in ("piper-tts", "espeak-ng", "x264", "GPL-3.0-or-later"):
        assert name in notice


@pytest.mark.parametrize(
    ("variables", "port", "python"),
    [
        ({"PARLEY_PROFILE": "cpu"}, "80", ""),
        ({"PARLEY_PROFILE": "cpu", "PORT": "9000"}, "9000", ""),
        ({"PARLEY_PROFILE": "gpu"}, "80", "/opt/melo/bin/python"),
        ({"PARLEY_PROFILE": "gpu", "PARLEY_TTS_ENGINE": "kokoro"}, "80", ""),
        ({"PARLEY_PROFILE": "gpu", "PARLEY_TTS_PYTHON": "/own"}, "80", "/own"),
    ],
)
def test_how_the_all_in_one_image_starts(
    tmp_path: Path, variables: dict[str, str], port: str, python: str
) -> None:
    parley = tmp_path / "parley"
    parley.write_text('#!/bin/sh\necho "$* $PARLEY_PORT ${PARLEY_TTS_PYTHON:-}"\n')
    parley.chmod(0o755)
    said = subprocess.run(
        images()["all-in-one"].command,
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PARLEY_PORT": "80", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == f"up {port} {python}\n"
