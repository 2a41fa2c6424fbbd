"""Whole conversations whose hearing, thinking and speaking is done by servers with OpenAI's
interface: llama.cpp's own, and one around Parley's Whisper and Piper."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from client import Parley
from tests.support.chat_server import MODEL, llama_server
from tests.support.http import Faulty, replies, serving
from tests.support.speech_server import STT_MODEL, TTS_MODEL, speech_server
from tests.support.spoken import QUESTIONS, SPOKEN_S, ask, check_order, check_spoken
from tests.support.up import Up, free_port, running
from tests.support.words import word_error_rate

pytestmark = pytest.mark.timeout(300)


@dataclass
class Servers:
    """A running Parley, and the server that hears and speaks for it."""

    up: Up
    speech: Faulty


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    speech = Faulty(speech_server())
    with llama_server() as llama, serving(speech) as url:
        named = {
            "STT_ENGINE": "openai",
            "STT_URL": url,
            "STT_MODEL": STT_MODEL,
            "LLM_ENGINE": "openai",
            "LLM_URL": llama,
            "LLM_MODEL": MODEL,
            "TTS_ENGINE": "openai",
            "TTS_URL": url,
            "TTS_MODELS": TTS_MODEL,
            "TTS_API_KEY": "sk-for-the-voice",
            "SILENCE_MS": "300",
        }
        settings = {f"PARLEY_{name}": value for name, value in named.items()}
        with running(tmp_path_factory.mktemp("data"), "cpu", **settings) as up:
            yield Servers(up, speech)


async def test_a_spoken_question_gets_a_spoken_answer(servers: Servers) -> None:
    servers.speech.posted.clear()
    turns = [await ask(servers.up.url, name) for name in QUESTIONS]
    for turn, said in zip(turns, QUESTIONS.values(), strict=True):
        assert word_error_rate(said, turn.heard) <= 0.10
        check_order(turn)
    check_spoken(turns)
    asked = {request.path for request in servers.speech.posted}
    assert asked == {"/v1/audio/transcriptions", "/v1/audio/speech"}
    for request in servers.speech.posted:
        key = "sk-for-the-voice" if request.path.endswith("speech") else "none"
        assert request.headers["authorization"] == f"Bearer {key}"


async def test_two_conversations_at_once(servers: Servers) -> None:
    turns = await asyncio.gather(*(ask(servers.up.url, name) for name in QUESTIONS))
    for turn, said in zip(turns, QUESTIONS.values(), strict=True):
        assert word_error_rate(said, turn.heard) <= 0.10


async def test_a_voice_that_fails_for_good_fails_the_answer_and_nothing_else(
    servers: Servers,
) -> None:
    servers.speech.faults.extend([replies(400, b"no such voice")] * 99)
    async with Parley(servers.up.url) as session:
        failed = await answered(session, "What color is the sky?")
        assert failed["status"] == "failed"
        assert "PARLEY_TTS_URL answered 400: no such voice" in str(failed)
        servers.speech.faults.clear()
        assert (await answered(session, "What color is grass?"))["status"] == "completed"


async def answered(session: Parley, question: str) -> dict[str, Any]:
    """What became of the response to a question."""
    await session.text(question)
    await session.create_response()
    async with asyncio.timeout(SPOKEN_S):
        async for event in session.events():
            if event.type == "response.done":
                response: dict[str, Any] = event["response"]
                return response
    raise AssertionError("the session ended before the answer did")


async def test_an_answer_goes_on_when_the_worker_that_asked_for_it_dies(servers: Servers) -> None:
    answer, killed = "", False
    async with Parley(servers.up.url) as session:
        await session.update(output_modalities=["text"])
        await session.text("Tell me a long story about a dragon.")
        await session.create_response()
        async with asyncio.timeout(SPOKEN_S):
            async for event in session.events():
                if event.type == "response.output_text.delta":
                    answer += event["delta"]
                if len(answer) > 80 and not killed:
                    worker = servers.up.child("workers.llm")
                    assert worker is not None
                    worker.kill()
                    killed = True
                if event.type == "response.done":
                    break
    assert killed
    assert event["response"]["status"] in ("completed", "incomplete")
    assert len(answer) > 200
    assert answer.count(answer[:60]) == 1


async def test_workers_load_no_model_of_their_own(servers: Servers) -> None:
    for stage in ("stt", "llm", "tts"):
        worker = servers.up.child(f"workers.{stage}")
        assert isinstance(worker, psutil.Process)
        loaded = {entry.path.rpartition("/")[2] for entry in worker.memory_maps()}
        assert not [name for name in loaded if "ctranslate2" in name or "onnx" in name.lower()]


async def test_a_server_that_is_away_at_start_is_named(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = tmp_path_factory.mktemp("away")
    away = f"http://127.0.0.1:{free_port()}/v1"
    up = Up(
        data,
        free_port(),
        "instant",
        PARLEY_LLM_ENGINE="openai",
        PARLEY_LLM_URL=away,
        PARLEY_LLM_MODEL=MODEL,
        PARLEY_LLM_API_KEY="sk-secret",
    )
    try:
        up.wait_for(lambda: "PARLEY_LLM_URL cannot be reached" in up.log.read_text())
    finally:
        up.process.terminate()
        up.process.wait()
    assert "sk-secret" not in up.log.read_text()
