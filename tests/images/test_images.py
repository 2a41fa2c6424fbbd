"""The images for the CPU, built and talked to: `make images-test`.

It takes a container engine and builds every target, so plain pytest leaves it out.
"""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from openai import AsyncOpenAI

from shared import api_keys
from shared.audio import pcm16
from shared.profiles import STAGES
from tests.images.engine import Container, Engine, find_engine, running
from tests.support.legacy_client import LegacyClient
from tests.support.spoken import QUESTIONS, SPOKEN_S, ask, check_spoken, question, understood
from tests.support.up import free_port
from tests.support.words import word_error_rate

pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]

TARGETS = ["gateway", *STAGES, "all-in-one"]
KEY = api_keys.fresh()
KEYS = json.dumps([{"name": "images", "sha256": api_keys.digest(KEY)}])

# A package that only some stages need -> the targets that have it.
OWN = {
    "onnxruntime": {"vad", "stt", "tts", "all-in-one"},
    "faster_whisper": {"stt", "all-in-one"},
    "xllamacpp": {"llm", "all-in-one"},
    "piper": {"tts", "all-in-one"},
}
# Prints what of an image must not be, by name: what is run as root, could be changed or is a
# leftover of the build.
_WRONG = """
import json, os, pathlib, shutil, subprocess
wrong = {
    "root": os.getuid() == 0,
    "writable code": os.access("/app", os.W_OK) or os.access("/opt/parley", os.W_OK),
    "closed folders": not all(os.access(path, os.W_OK) for path in ("/models", "/data")),
    "compiler": shutil.which("cc") or shutil.which("gcc"),
    "pip's cache": pathlib.Path("/root/.cache").is_dir() if os.access("/root", os.R_OK) else False,
    "no notices": not all(pathlib.Path("/app", name).stat().st_size
                          for name in ("NOTICE", "LICENSE", "packages.txt")),
    "broken packages": subprocess.run(["pip", "check"], capture_output=True).returncode,
}
print(json.dumps([name for name, is_so in wrong.items() if is_so]))
"""
_FIND = """
import importlib.util, json, sys
print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name)]))
"""


def tag(target: str) -> str:
    return f"parley-images-test-{target}"


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine, which has built every target."""
    found = find_engine()
    for target in TARGETS:
        started = time.monotonic()
        models = {} if target == "gateway" else {"MODELS": "starter"}
        found.build(target, tag(target), **models)
        took_s = time.monotonic() - started
        size_mb = found.size_bytes(tag(target)) / 1e6
        print(f"\n{target:<11} {size_mb:6.0f} MB, built in {took_s:.0f} s")
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_in_an_image(engine: Engine, target: str) -> None:
    assert json.loads(engine.run(tag(target), "python", "-c", _WRONG)) == []
    found = json.loads(engine.run(tag(target), "python", "-c", _FIND, *OWN))
    assert set(found) == {name for name, targets in OWN.items() if target in targets}
    packages = engine.run(tag(target), "cat", "/app/packages.txt")
    assert ("GPL-3.0-or-later" in packages) == (target in OWN["piper"])


@pytest.fixture
def apart(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """A container for the broker, the gateway and each stage; the gateway's address."""
    broker, port = free_port(), free_port()
    server = "from cli.broker import find_server; print(find_server())"
    with ExitStack() as stack:
        options = f"--port {broker} --requirepass {KEY} --save ''"
        command = f'exec "$(python -c "{server}")" {options}'
        variables = {"PARLEY_REDIS_URL": f"redis://:{KEY}@127.0.0.1:{broker}/0"}

        def start(target: str, **more: str) -> Container:
            log = tmp_path / f"{target}.log"
            return stack.enter_context(running(engine, tag(target), log, **variables, **more))

        stack.enter_context(
            running(engine, tag("gateway"), tmp_path / "broker.log", "sh", "-c", command)
        )
        started = time.monotonic()
        workers: dict[str, Container] = {stage: start(stage) for stage in STAGES}
        gateway = start("gateway", PARLEY_PORT=str(port), PARLEY_API_KEYS=KEYS)
        gateway.until_answers(f"http://127.0.0.1:{port}/ready")
        print(f"\nfive containers ready after {time.monotonic() - started:.1f} s")
        everything = {**workers, "gateway": gateway}
        for target, container in everything.items():
            assert container.run("python", "-P", "-m", "cli.health", target) == 0
        yield f"ws://127.0.0.1:{port}"
        for target, container in everything.items():
            assert container.stop() == 0, f"{target}: {container.log.read_text()}"


async def test_a_conversation_through_a_container_for_each_process(apart: str) -> None:
    await hold_a_conversation(apart)


async def hold_a_conversation(url: str) -> None:
    turns = [await ask(url, name, KEY) for name in QUESTIONS]
    for turn, asked in zip(turns, QUESTIONS.values(), strict=True):
        assert word_error_rate(asked, turn.heard) <= 0.10
        print(f"{turn.heard!r} was answered: {turn.answer.strip()!r}")
    check_spoken(turns)


@pytest.fixture
def together(engine: Engine, tmp_path: Path) -> Iterator[tuple[Container, int]]:
    """The all-in-one container, ready, and its port."""
    port = free_port()
    variables = {"PORT": str(port), "PARLEY_API_KEYS": KEYS, "PARLEY_LOG_FORMAT": "json"}
    started = time.monotonic()
    with running(engine, tag("all-in-one"), tmp_path / "all.log", **variables) as container:
        container.until_answers(f"http://127.0.0.1:{port}/ready")
        print(f"\nall-in-one ready after {time.monotonic() - started:.1f} s")
        yield container, port


async def test_the_all_in_one_container(together: tuple[Container, int]) -> None:
    container, port = together
    await hold_a_conversation(f"ws://127.0.0.1:{port}")
    await the_official_client_talks(port)
    await asyncio.to_thread(the_original_client_talks, port)
    await asyncio.to_thread(a_worker_that_is_killed_comes_back, container, port)
    await hold_a_conversation(f"ws://127.0.0.1:{port}")

    assert container.run("sh", "-c", f"PARLEY_PORT={port} python -P -m cli.health all") == 0
    assert not [each for each in container.processes() if each.zombie]
    assert await asyncio.to_thread(container.stop) == 0
    lines = container.log.read_text().splitlines()
    processes = {json.loads(line)["process"] for line in lines}
    assert processes == {"parley", "gateway", *STAGES}


async def the_official_client_talks(port: int) -> None:
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY)
    audio = []
    async with client.realtime.connect(model="parley") as connection:
        quiet = np.zeros(24_000, np.int16)
        sound = np.concatenate([question("question.wav", 24_000), quiet])
        for piece in np.split(sound, range(2400, len(sound), 2400)):
            encoded = base64.b64encode(piece.tobytes()).decode()
            await connection.input_audio_buffer.append(audio=encoded)
        async with asyncio.timeout(SPOKEN_S):
            async for event in connection:
                assert event.type != "error", event
                if event.type == "response.output_audio.delta":
                    audio.append(pcm16(base64.b64decode(event.delta)))
                elif event.type == "response.done":
                    break
    assert len(understood(np.concatenate(audio), 24_000).split()) >= 3


def the_original_client_talks(port: int) -> None:
    with LegacyClient(f"http://127.0.0.1:{port}/", token=KEY) as client:
        answer = client.ask(question("question.wav", 16_000))
    assert len(understood(answer.played, 16_000).split()) >= 3


def a_worker_that_is_killed_comes_back(container: Container, port: int) -> None:
    killed = container.worker("stt")
    assert killed is not None
    container.kill(killed)
    deadline = time.monotonic() + 60
    while (successor := container.worker("stt")) is None or successor.pid == killed.pid:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not [each for each in container.processes() if each.zombie]
    container.until_answers(f"http://127.0.0.1:{port}/ready")
