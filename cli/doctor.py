"""`parley doctor`: what this machine has, what it lacks, and what to do about it."""

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil
import redis
import typer

from cli.address import answers, check_free, local_url
from cli.broker import OLDEST_REDIS, BrokerError, find_server, server_version
from cli.console import console, load_settings
from client.sound import SoundError, devices
from shared.broker import answer, connect
from shared.gpu import NoGpu, card
from shared.models import ModelMissing, needed, resolve, starter_pack
from shared.models.hub import hub_files
from shared.profiles import PROFILES
from shared.settings import Settings

# The packages that an engine imports, as (distribution, module), and the extra that brings them.
_PACKAGES_OF_ENGINE: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "silero": ("cpu", [("onnxruntime", "onnxruntime"), ("onnx", "onnx")]),
    "silero-torch": ("gpu", [("torch", "torch")]),
    "smart-turn": ("cpu", [("onnxruntime", "onnxruntime")]),
    "whisper": ("cpu", [("faster-whisper", "faster_whisper"), ("ctranslate2", "ctranslate2")]),
    "llama": ("cpu", [("xllamacpp", "xllamacpp")]),
    "transformers": ("gpu", [("torch", "torch"), ("transformers", "transformers")]),
    "piper": ("cpu", [("piper-tts", "piper")]),
    "kokoro": ("kokoro", [("kokoro-onnx", "kokoro_onnx")]),
    "melo": ("", [("meloplus", "meloplus")]),
}
_ENOUGH_MEMORY_GB = 2
_ENOUGH_CORES = 2
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class Check(NamedTuple):
    """One line of the doctor's report."""

    verdict: Literal["ok", "warn", "fail"]
    what: str
    finding: str  # with what to do, unless all is well


def doctor() -> None:
    """Checks this machine and says what to do about what is missing.

    Ends with exit code 1 when something would keep `parley up` from working.

    Examples:

      parley doctor

      PARLEY_PROFILE=gpu parley doctor
    """
    config = load_settings()
    failed = False
    for check in checks(config):
        style = _STYLES[check.verdict]
        line = f"[{style}]{check.verdict:<4}[/]  {check.what:<28}  "
        console.print(line, end="")
        console.print(check.finding, markup=False, soft_wrap=True)
        failed |= check.verdict == "fail"
    if failed:
        raise typer.Exit(1)


def checks(config: Settings) -> Iterator[Check]:
    """Every check of this machine against these settings, in reading order."""
    yield Check("ok", "python", platform.python_version())
    yield from _packages(config)
    if config.on_gpu:
        yield _gpu()
    for name in needed(config):
        yield _model(name, config)
    yield _broker(config)
    if config.problem:
        yield Check("fail", "who gets in", config.problem)
    yield _port(config)
    yield _cores()
    yield _memory()
    yield _sound()


def _packages(config: Settings) -> Iterator[Check]:
    for role in PROFILES[config.profile]:
        if role == "tts" and config.tts_python is not None:
            yield _interpreter(config.tts_python)
            continue
        extra, packages = _PACKAGES_OF_ENGINE.get(config.engine(role), ("", []))
        for distribution, module in packages:
            yield _package(role, distribution, module, extra)


def _package(role: str, distribution: str, module: str, extra: str) -> Check:
    what = f"{role}: {distribution}"
    if importlib.util.find_spec(module) is not None:
        return Check("ok", what, importlib.metadata.version(distribution))
    advice = f"pip install 'parley[{extra}]'" if extra else "it has an environment of its own"
    return Check("fail", what, f"missing: {advice}; docs/engines.md says more")


def _interpreter(python: Path) -> Check:
    what = "tts: PARLEY_TTS_PYTHON"
    if os.access(python, os.X_OK):
        return Check("ok", what, str(python))
    return Check("fail", what, f"{python} is no program that can be run")


def _gpu() -> Check:
    try:
        found = card()
    except NoGpu as error:
        return Check("fail", "gpu", str(error))
    total, free = found.total_bytes / 1e9, found.free_bytes / 1e9
    return Check("ok", "gpu", f"{found.name}, {free:.1f} of {total:.1f} GB free")


def _model(name: str, config: Settings) -> Check:
    what = f"model {name}"
    try:
        return Check("ok", what, str(resolve(name, config.models_dir)))
    except ModelMissing as missing:
        pack = starter_pack()
        if name in pack.models:
            size = pack.download_bytes(pack.models[name]) / 1e6
            advice = f"not here yet: `parley up` fetches it ({size:.0f} MB)"
            return Check("warn", what, f"{advice}, or now: parley models fetch {name}")
        if hub_files(name):
            return Check("warn", what, str(missing))
        return Check("fail", what, "no such model: `parley models list` shows the starter pack")


def _broker(config: Settings) -> Check:
    if "redis_url" in config.model_fields_set:
        return _named_broker(config.redis_url)
    try:
        binary = find_server()
    except BrokerError as error:
        return Check("fail", "broker", str(error))
    version = ".".join(map(str, server_version(binary)))
    return Check("ok", "broker", f"{binary} {version}, private to `parley up`")


def _named_broker(url: str) -> Check:
    what = "broker"
    try:
        info = asyncio.run(_server_info(url))
    except (redis.RedisError, ValueError) as error:
        return Check("fail", what, f"PARLEY_REDIS_URL is set and gives no answer: {error}")
    valkey = info.get("valkey_version")
    version = str(valkey or info["redis_version"])
    if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        return Check("fail", what, f"Redis {version} is too old: Parley needs 6.2 or newer")
    return Check("ok", what, f"{'Valkey' if valkey else 'Redis'} {version} at PARLEY_REDIS_URL")


async def _server_info(url: str) -> dict[str, Any]:
    async with connect(url) as client:
        info: dict[str, Any] = await answer(client.info("server"))
        return info


def _port(config: Settings) -> Check:
    what = f"port {config.port}"
    try:
        check_free(config.host, config.port)
    except OSError as error:
        if answers(f"{local_url(config)}/health"):
            return Check("ok", what, "Parley is running there")
        advice = "stop what uses it, or choose another with PARLEY_PORT"
        return Check("fail", what, f"{error.strerror}: {advice}")
    return Check("ok", what, f"free on {config.host}")


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not cores or cores < _ENOUGH_CORES:
        return Check("warn", "cores", f"{cores}: answers will be slow with fewer than 2")
    return Check("ok", "cores", str(cores))


def _memory() -> Check:
    free_gb = psutil.virtual_memory().available / 1e9
    finding = f"{free_gb:.1f} GB available"
    if free_gb < _ENOUGH_MEMORY_GB:
        return Check("warn", "memory", f"{finding}: the starter models take about 1 GB")
    return Check("ok", "memory", finding)


def _sound() -> Check:
    """What `parley talk` needs, and nothing else does."""
    what = "sound for `parley talk`"
    try:
        found = devices()
    except SoundError as error:
        return Check("warn", what, str(error))
    if not any(device.records for device in found):
        return Check("warn", what, "this machine has no microphone: plug one in")
    if not any(device.plays for device in found):
        return Check("warn", what, "this machine has no speaker: plug one in")
    return Check("ok", what, "a microphone and a speaker")
