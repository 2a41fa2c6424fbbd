"""Servers with OpenAI's interface for conversations: llama.cpp's own, and one that is told what
to say."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import xllamacpp
from fastapi import FastAPI
from fastapi.requests import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from shared.models import resolve
from shared.settings import Settings
from tests.support.http import replies, serving
from tests.support.up import free_port

STREAM = "text/event-stream"
MODEL = "smollm2-135m-instruct"


@contextmanager
def llama_server(
    slots: int = 2, context_tokens: int = 2_048, chat_template: str = ""
) -> Iterator[str]:
    """The base URL of llama.cpp's HTTP server with the starter model, whose chat template another
    may replace."""
    (path,) = resolve(MODEL, Settings().models_dir).glob("*.gguf")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.chat_template = chat_template
    params.n_parallel = slots
    params.n_ctx = slots * context_tokens
    params.kv_unified = params.fit_params = params.ui = False
    params.n_batch = params.n_ubatch = 128
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads, cpu.poll = 1, 0
    # What Parley's own engine samples with: a small model goes in circles without.
    params.sampling.temp = 0.0
    params.sampling.top_p = 0.9
    params.sampling.min_p = 0.05
    params.sampling.dry_multiplier = 0.8
    params.hostnames = ["127.0.0.1"]
    params.port = free_port()
    params.verbosity = 0
    server = xllamacpp.Server(params)
    try:
        yield f"http://127.0.0.1:{params.port}/v1"
    finally:
        del server


@contextmanager
def checked_llama_server(slots: int = 2, context_tokens: int = 2_048) -> Iterator[str]:
    """The same behind a proxy that knows the names of models, as most servers do."""
    with llama_server(slots, context_tokens) as llama:
        app = FastAPI()

        @app.get("/v1/models")
        def models() -> object:
            return {"object": "list", "data": [{"id": MODEL}]}

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            body = await request.body()
            if (model := json.loads(body)["model"]) != MODEL:
                return JSONResponse({"error": {"message": f"no model {model!r}"}}, 404)
            client = httpx2.AsyncClient(base_url=llama, timeout=60)
            asked = client.build_request("POST", "/chat/completions", content=body)
            answer = await client.send(asked, stream=True)
            kind = answer.headers["Content-Type"]
            passed_on = _passed_on(client, answer)
            return StreamingResponse(passed_on, answer.status_code, media_type=kind)

        with serving(app) as url:
            yield url


async def _passed_on(client: httpx2.AsyncClient, answer: httpx2.Response) -> AsyncIterator[bytes]:
    """An answer as it comes. Whoever leaves is noticed at once, and the server stops too."""
    try:
        async for piece in answer.aiter_bytes():
            yield piece
    finally:
        await client.aclose()


def chat_app(end_of_turn_tokens: int = 5) -> FastAPI:
    """Greets whoever warms up, and lists one model. It counts a token a word, and for a message
    of the assistant that comes last those that close it."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> object:
        return {"object": "list", "data": [{"id": MODEL}]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        asked = json.loads(await request.body())
        if asked["model"] != MODEL:
            return JSONResponse({"error": {"message": "no such model", "code": 404}}, 404)
        words = sum(len(message["content"].split()) for message in asked["messages"])
        closed = end_of_turn_tokens * (asked["messages"][-1]["role"] == "assistant")
        usage = {"prompt_tokens": words + closed, "completion_tokens": 1}
        message = {"role": "assistant", "content": "Hello."}
        return JSONResponse({"choices": [{"message": message}], "usage": usage})

    return app


def says(*chunks: dict[str, Any], done: bool = True) -> ASGIApp:
    """Streams these chunks."""
    body = b"".join(event(chunk) for chunk in chunks) + b"data: [DONE]\n\n" * done
    return replies(200, body, content_type=STREAM)


def event(data: object) -> bytes:
    """Data as a server sends it in a stream."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def words(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk with words; `more` is in its delta too."""
    return {"choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}]}


def call_part(index: int, arguments: str, **named: Any) -> dict[str, Any]:
    """A chunk with part of a call; `named` are its `id` and its `name`."""
    function = {"arguments": arguments}
    if "name" in named:
        function["name"] = named.pop("name")
    part = {"index": index, "function": function, **named}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}]}


def usage(prompt: int, completion: int, cached: int | None = None) -> dict[str, Any]:
    """The chunk that comes last."""
    details = None if cached is None else {"cached_tokens": cached}
    counted = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"choices": [], "usage": {**counted, "prompt_tokens_details": details}}
