"""A server with OpenAI's interface for audio, around Parley's own engines."""

import email
import io
import json
import wave
from collections.abc import Iterator
from functools import lru_cache

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.requests import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from shared.audio import SAMPLE_RATE, pcm16
from shared.settings import Settings
from workers.stt.engines import SttEngine, Utterance
from workers.stt.engines import create as create_stt
from workers.tts.engines import Speech, TtsEngine
from workers.tts.engines import create as create_tts

RATE = 24_000


STT_MODEL, TTS_MODEL = "whisper-tiny.en", "en_US-joe-medium"


@lru_cache(maxsize=1)
def speech_server() -> FastAPI:
    """The server with the starter models, for all tests of a process."""
    settings = Settings(stt_model=STT_MODEL, tts_models=(TTS_MODEL,))
    stt, tts = create_stt(settings), create_tts(settings)
    stt.load()
    tts.load()
    return speech_app(stt, tts)


def speech_app(stt: SttEngine, tts: TtsEngine) -> FastAPI:
    """Transcribes with one engine and speaks with the other, in any voice."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> object:
        return {"object": "list", "data": [{"id": stt.model}, {"id": tts.model}]}

    @app.post("/v1/audio/transcriptions")
    async def transcribe(request: Request) -> Response:
        form = _form(request.headers["content-type"], await request.body())
        if form["model"].decode() != stt.model:
            return _refusal(404, f"The model {form['model'].decode()!r} does not exist.")
        with wave.open(io.BytesIO(form["file"]), "rb") as file:
            assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
            assert file.getframerate() == SAMPLE_RATE
            pcm = pcm16(file.readframes(file.getnframes()))
        named = {key: form[key].decode() for key in ("language", "prompt") if key in form}
        if named.get("language") not in stt.languages:
            named.pop("language", None)
        (heard,) = await run_in_threadpool(stt.transcribe, [Utterance(pcm, **named)])
        answer = {"text": f" {heard.text}"}
        if form["response_format"] == b"verbose_json":
            answer |= {"language": {"en": "english", "fr": "fr"}.get(heard.language or "", "")}
        return JSONResponse(answer)

    @app.post("/v1/audio/speech")
    async def speak(request: Request) -> Response:
        asked = json.loads(await request.body())
        if asked["model"] != tts.model:
            return _refusal(404, f"The model {asked['model']!r} does not exist.")
        assert asked["voice"]
        assert asked["response_format"] == "pcm"
        speech = Speech(asked["input"], None, asked.get("speed", 1.0), RATE)
        return StreamingResponse(_pcm(tts, speech), media_type="audio/pcm")

    return app


def _pcm(tts: TtsEngine, speech: Speech) -> Iterator[bytes]:
    """PCM in pieces of odd length, as a network cuts it."""
    held = b""
    for chunk in tts.synthesize(speech):
        held += chunk.tobytes()
        while len(held) >= 1_001:
            yield held[:1_001]
            held = held[1_001:]
    yield held


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status)


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    """The fields of a multipart form."""
    message = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    form: dict[str, bytes] = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            form[name] = content
    return form
