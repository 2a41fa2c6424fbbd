"""What every engine that asks a server does when the server is not as it should be."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from starlette.types import ASGIApp

from shared.registry import CannotStart
from shared.remote import RemoteError, Server
from shared.settings import Settings
from tests.engines.asking import answer, ask
from tests.support.chat_server import MODEL, STREAM, chat_app, says, words
from tests.support.http import Faulty, cut_off, repeats, replies, serving, silent, talking_nonsense
from tests.support.speech_server import STT_MODEL, TTS_MODEL, speech_server
from workers.llm import engines as llm
from workers.stt import engines as stt
from workers.stt.engines import Utterance
from workers.tts import engines as tts
from workers.tts.engines import Speech

KEY = "sk-nobody-may-read-this"
TONE = np.sin(np.arange(16_000) / 10).astype(np.float32)
PCM = (TONE * 3_000).astype(np.int16)


@dataclass
class Stage:
    """How a stage's engine is made and put to work, and what its server answers when it is well."""

    name: str
    model: dict[str, Any]
    create: Callable[[Settings], Any]
    work: Callable[[Any], object]
    app: Callable[[], ASGIApp]
    good: ASGIApp
    kind: str

    def settings(self, url: str, **more: Any) -> Settings:
        named = {f"{self.name}_engine": "openai", f"{self.name}_url": url, **self.model}
        secret = {f"{self.name}_api_key": KEY}
        return Settings.model_validate({**named, **secret, "remote_timeout_s": 10.0, **more})


def converse(engine: llm.LlmEngine) -> str:
    return asyncio.run(answer(engine, ask("Hello.")))[0]


def hear(engine: stt.SttEngine) -> str:
    return engine.transcribe([Utterance(PCM, "en")])[0].text


def speak(engine: tts.TtsEngine) -> bytes:
    return b"".join(chunk.tobytes() for chunk in engine.synthesize(SPEECH))


SPEECH = Speech("Hello.", None, 1.0, 24_000)
STAGES = [
    Stage(
        "stt",
        {"stt_model": STT_MODEL},
        stt.create,
        hear,
        speech_server,
        replies(200, b'{"text": "fine"}', content_type="application/json"),
        "application/json",
    ),
    Stage(
        "llm",
        {"llm_model": MODEL},
        llm.create,
        converse,
        chat_app,
        says(words("fine", "stop")),
        STREAM,
    ),
    Stage(
        "tts",
        {"tts_models": TTS_MODEL},
        tts.create,
        speak,
        speech_server,
        replies(200, b"\1\2" * 480, content_type="audio/pcm"),
        "audio/pcm",
    ),
]


@pytest.fixture(params=STAGES, ids=lambda stage: stage.name)
def stage(request: pytest.FixtureRequest) -> Stage:
    chosen: Stage = request.param
    return chosen


@pytest.fixture
def server(stage: Stage) -> Faulty:
    return Faulty(stage.app())


@pytest.fixture
def engine(stage: Stage, server: Faulty) -> Iterator[Any]:
    with serving(server) as url:
        loaded = stage.create(stage.settings(url))
        loaded.load()
        server.posted.clear()
        yield loaded
        loaded.close()


def refused(stage: Stage, settings: Settings) -> str:
    """Why an engine cannot start, in one sentence."""
    engine = stage.create(settings)
    try:
        with pytest.raises(CannotStart) as problem:
            engine.load()
    finally:
        engine.close()
    assert KEY not in str(problem.value)
    assert "\n" not in str(problem.value)
    return str(problem.value)


def failed(stage: Stage, engine: Any) -> Exception:
    """What an engine raises, which tells whoever reads a log or an answer no secret."""
    with pytest.raises((RemoteError, llm.PromptError)) as problem:
        stage.work(engine)
    error = problem.value
    assert f"PARLEY_{stage.name.upper()}_URL" in str(error)
    assert KEY not in str(error)
    assert "\n" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None
    return error


def test_a_server_that_is_away_is_named_by_its_setting(stage: Stage) -> None:
    with serving(stage.app()) as url:
        pass
    problem = refused(stage, stage.settings(url))
    assert re.search(f"PARLEY_{stage.name.upper()}_URL cannot be reached: .+", problem)


def test_settings_that_name_no_server_are_told_so(stage: Stage) -> None:
    for missing, named in (("url", "_URL"), ("model", "_MODEL"), ("key", "_API_KEY")):
        settings = stage.settings("http://127.0.0.1:1/v1")
        wrong: dict[str, Any] = {
            "url": {f"{stage.name}_url": None},
            "model": {name: type(value)() for name, value in stage.model.items()},
            "key": {f"{stage.name}_api_key": "two\nlines"},
        }[missing]
        updated = Settings.model_validate({**settings.model_dump(exclude_unset=True), **wrong})
        with pytest.raises(CannotStart, match=f"PARLEY_{stage.name.upper()}{named}"):
            stage.create(updated)


def test_a_wrong_model_is_refused_with_those_there_are(stage: Stage) -> None:
    wrong = dict.fromkeys(stage.model, "no-such-model")
    with serving(stage.app()) as url:
        problem = refused(stage, stage.settings(url, **wrong))
    assert "404" in problem
    assert "it lists no model 'no-such-model' but " in problem
    assert next(iter(stage.model.values())) in problem


def test_a_wrong_address_says_what_was_tried(stage: Stage) -> None:
    with serving(stage.app()) as url:
        problem = refused(stage, stage.settings(url.removesuffix("/v1")))
    assert "it has no GET /models at that URL, which as a rule ends in /v1" in problem


def test_what_is_no_http_server_at_all_is_told(stage: Stage) -> None:
    with talking_nonsense(b"220 mail.example ESMTP\r\n") as url:
        assert "PARLEY" in refused(stage, stage.settings(url))


def test_the_key_is_sent_and_nobody_elses(
    stage: Stage, server: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-somebody-else")
    with serving(server) as url:
        for key, sent in ((KEY, KEY), (None, "none")):
            engine = stage.create(stage.settings(url, **{f"{stage.name}_api_key": key}))
            engine.load()
            engine.close()
            assert {r.headers["authorization"] for r in server.posted} == {f"Bearer {sent}"}
            server.posted.clear()


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_told_without_it(
    stage: Stage, server: Faulty, engine: Any, status: int
) -> None:
    remark = json.dumps({"error": {"message": f"No such key:\n {KEY}"}}).encode()
    server.faults.append(replies(status, remark, content_type="application/json"))
    error = failed(stage, engine)
    assert f"refuses the key in PARLEY_{stage.name.upper()}_API_KEY: No such key: …" in str(error)
    assert len(server.posted) == 1
    assert isinstance(error, llm.PromptError) is (stage.name == "llm")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(stage: Stage, server: Faulty, engine: Any, status: int) -> None:
    server.faults.append(replies(status, b"busy", retry_after="0.01"))
    server.faults.append(stage.good)
    assert stage.work(engine)
    assert len(server.posted) == 2


def test_what_does_not_pass_is_tried_three_times(stage: Stage, server: Faulty, engine: Any) -> None:
    server.faults.extend([replies(500, b"ouch", retry_after="0.01")] * 3)
    error = failed(stage, engine)
    assert isinstance(error, RemoteError)
    assert "answered 500: ouch" in str(error)
    assert len(server.posted) == 3


def test_nobody_waits_longer_for_another_attempt_than_for_an_answer(
    stage: Stage, server: Faulty, engine: Any
) -> None:
    server.faults.append(replies(429, b"later", retry_after="60"))
    assert "answered 429: later" in str(failed(stage, engine))
    assert len(server.posted) == 1


def test_a_silent_server_is_not_waited_for(stage: Stage, server: Faulty) -> None:
    gone = threading.Event()
    with serving(server) as url:
        engine = stage.create(stage.settings(url, remote_timeout_s=0.3))
        if stage.name != "llm":  # a real model may take longer to warm up
            server.faults.append(stage.good)
        engine.load()
        server.faults.extend([silent(gone)] * 3)
        assert "said nothing for 0.3 s" in str(failed(stage, engine))
        engine.close()
    assert gone.is_set()


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"\xff\xfe{", b'{"a": [1}', b"[]"])
def test_garbage_is_an_error(stage: Stage, server: Faulty, engine: Any, body: bytes) -> None:
    kind = "text/html" if stage.name == "tts" else stage.kind
    framed = b"data: " + body + b"\n\n" if stage.name == "llm" else body
    server.faults.append(replies(200, framed, content_type=kind))
    assert isinstance(failed(stage, engine), RemoteError)


def test_a_connection_that_is_cut_is_an_error(stage: Stage, server: Faulty, engine: Any) -> None:
    begun = {"stt": b'{"text": ', "llm": b'data: {"choices"', "tts": b"\0" * 480}[stage.name]
    server.faults.extend([cut_off(begun, content_type=stage.kind)] * 3)
    error = failed(stage, engine)
    assert isinstance(error, RemoteError)
    assert "broke off" in str(error)


def test_an_answer_without_end_is_cut(stage: Stage, server: Faulty, engine: Any) -> None:
    gone = threading.Event()
    server.faults.append(repeats(b"[" * 60_000, gone=gone, content_type=stage.kind))
    said = "more than 16 s of audio" if stage.name == "tts" else "not come to an end of its answer"
    assert said in str(failed(stage, engine))
    assert gone.wait(10)


def test_what_is_compressed_is_refused(stage: Stage, server: Faulty, engine: Any) -> None:
    server.faults.append(replies(200, b"", content_encoding="gzip", content_type=stage.kind))
    assert "compressed" in str(failed(stage, engine))
    assert server.posted[0].headers["accept-encoding"] == "identity"


def test_what_is_sent_goes_to_no_other_server(stage: Stage, server: Faulty, engine: Any) -> None:
    server.faults.append(replies(307, location="http://127.0.0.1:1/v1/other"))
    assert "answered 307" in str(failed(stage, engine))


def test_a_server_speaks_for_itself_in_few_words_and_one_line() -> None:
    settings = Settings(llm_url="http://127.0.0.1:1/v1", llm_api_key=KEY)  # type: ignore[arg-type]
    server = Server.of("llm", "m", settings, longest_bytes=1_000)
    assert server._clean(f"a\n\x1b[31m  {KEY} b") == "a \\x1b[31m … b"
    assert len(server._clean("x" * 10_000)) <= 300
    assert KEY not in repr(server)
