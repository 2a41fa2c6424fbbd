"""The HTTP endpoints, asked by the official client."""

import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from shared.api_keys import digest
from shared.broker import Pipe
from shared.keys import AccessKeys
from tests.gateway.access import ADA, BOB, bearer, connected, keyed, refused
from tests.gateway.running import Gateway, gateway, instant
from tests.stages import until

Client = Callable[[Gateway, str], AsyncOpenAI]


@pytest.fixture
async def locked(redis_url: str) -> AsyncIterator[Gateway]:
    """A gateway with keys, Ada's with limits."""
    async with gateway(keyed(redis_url, sessions=1, requests_per_s=0.8)) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Makes the official client; it is closed with the test."""
    async with contextlib.AsyncExitStack() as stack:

        def made(served: Gateway, key: str) -> AsyncOpenAI:
            url = f"http://{served.host}/v1"
            opened = AsyncOpenAI(base_url=url, api_key=key, max_retries=0)
            stack.push_async_callback(opened.close)
            return opened

        yield made


async def posted(served: Gateway, key: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """The answer to a request for an ephemeral key that the official client would not make."""

    def post() -> tuple[int, dict[str, Any]]:
        url = f"http://{served.host}/v1/realtime/client_secrets"
        request = urllib.request.Request(url, body, bearer(key))
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return await asyncio.to_thread(post)


async def test_models_and_voices(locked: Gateway, client: Client) -> None:
    bob = client(locked, BOB)
    name = "instant"
    assert [model.id async for model in bob.models.list()] == [name]
    assert (await bob.models.retrieve(name)).object == "model"
    with pytest.raises(openai.NotFoundError, match=name):
        await bob.models.retrieve("gpt-9")
    voices: Any = await bob.get("/voices", cast_to=object)
    assert [voice["id"] for voice in voices["data"]] == ["default"]


async def test_what_there_is_not_is_an_error_like_others(locked: Gateway, client: Client) -> None:
    bob = client(locked, BOB)
    with pytest.raises(openai.NotFoundError) as refusal:
        await bob.get("/files", cast_to=object)
    assert refusal.value.code == "not_found"
    with pytest.raises(openai.APIStatusError) as wrong_method:
        await bob.post("/models", cast_to=object)
    assert wrong_method.value.status_code == 405
    assert wrong_method.value.code == "method_not_allowed"


async def test_without_a_key_nothing_is_told(locked: Gateway, client: Client) -> None:
    for path in ("/models", "/models/x", "/voices"):
        with pytest.raises(openai.AuthenticationError, match="not valid") as refusal:
            await client(locked, "wrong").get(path, cast_to=object)
        assert refusal.value.code == "invalid_api_key"
    status, answer = await posted(locked, "wrong", b"{}")
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")


async def test_requests_over_http_count(locked: Gateway, client: Client) -> None:
    ada = client(locked, ADA)
    asked = await asyncio.gather(*(ada.models.list() for _ in range(20)), return_exceptions=True)
    refusals = [answer for answer in asked if isinstance(answer, openai.RateLimitError)]
    assert 0 < len(refusals) < 20
    assert "requests a second" in str(refusals[0])
    assert int(refusals[0].response.headers["Retry-After"]) > 0


async def test_pages_of_other_origins_learn_nothing(redis_url: str, client: Client) -> None:
    settings = instant(redis_url).model_copy(update={"origins": ("https://app.example",)})
    async with gateway(settings) as served:
        anybody = client(served, "any")
        with pytest.raises(openai.PermissionDeniedError):
            await anybody.with_options(
                default_headers={"Origin": "https://evil.example"}
            ).models.list()
        answer = await anybody.with_options(
            default_headers={"Origin": "https://app.example"}
        ).models.with_raw_response.list()
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_an_ephemeral_key_opens_sessions_of_its_configuration(
    locked: Gateway, pipe: Pipe, client: Client
) -> None:
    session: Any = {"type": "realtime", "instructions": "Whisper.", "output_modalities": ["text"]}
    made = await client(locked, ADA).realtime.client_secrets.create(session=session)
    assert made.value.startswith("ek_")
    assert made.session.type == "realtime"
    assert made.session.instructions == "Whisper."
    assert abs(made.expires_at - time.time() - 600) < 60
    subprotocols = ["realtime", f"openai-insecure-api-key.{made.value}"]
    for _ in range(2):
        async with connected(locked, subprotocols=subprotocols) as browser:
            created = (await browser.next())["session"]
            assert created["instructions"] == "Whisper."
            assert created["output_modalities"] == ["text"]
            # it is one of Ada's sessions
            assert (await refused(locked, bearer(ADA))).status == 429
        await until(lambda: free(pipe))
    keys = [key.decode() for key in await pipe.command("KEYS", "*")]
    assert f"parley:secret:{digest(made.value)}" in keys
    dump = [await pipe.command("DUMP", key) for key in keys]
    assert not any(made.value.encode() in value for value in dump)


async def free(pipe: Pipe) -> bool:
    return not await pipe.command("EXISTS", AccessKeys("ada").sessions)


async def test_an_ephemeral_key_for_transcription(locked: Gateway, client: Client) -> None:
    session: Any = {
        "type": "transcription",
        "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}}},
    }
    made = await client(locked, BOB).realtime.client_secrets.create(session=session)
    assert made.session.type == "transcription"
    async with connected(locked, bearer(made.value)) as browser:
        created = (await browser.next())["session"]
    assert created["type"] == "transcription"
    assert created["audio"]["input"]["transcription"]["language"] == "en"


async def test_an_ephemeral_key_expires(locked: Gateway, pipe: Pipe, client: Client) -> None:
    made = await client(locked, BOB).realtime.client_secrets.create(
        expires_after={"anchor": "created_at", "seconds": 10}
    )
    key = f"parley:secret:{digest(made.value)}"
    assert 0 < await pipe.command("TTL", key) <= 10
    await pipe.command("PEXPIRE", key, 1)

    async def expired() -> bool:
        return not await pipe.command("EXISTS", key)

    await until(expired)
    assert (await refused(locked, bearer(made.value))).status == 401


async def test_an_ephemeral_key_makes_no_further_ones(locked: Gateway, client: Client) -> None:
    made = await client(locked, BOB).realtime.client_secrets.create()
    assert (await posted(locked, made.value, b"{}"))[0] == 403


async def test_without_keys_it_works_too(redis_url: str, client: Client) -> None:
    async with gateway(instant(redis_url)) as served:
        session: Any = {"type": "realtime", "instructions": "Sing."}
        made = await client(served, "any").realtime.client_secrets.create(session=session)
        async with connected(served, bearer(made.value)) as browser:
            assert (await browser.next())["session"]["instructions"] == "Sing."
        assert (await refused(served, bearer("ek_of-nobody"))).status == 401


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"no JSON", None),
        (b"[]", None),
        (b'{"expires_after": {"seconds": 9}}', "expires_after.seconds"),
        (b'{"expires_after": {"seconds": "60"}}', "expires_after.seconds"),
        (b'{"expires_after": {"anchor": "now"}}', "expires_after.anchor"),
        (b'{"else": 1}', "else"),
        (b'{"session": {"type": "realtime", "voice": "x"}}', "session.voice"),
        (
            b'{"session": {"type": "realtime", "max_output_tokens": 0}}',
            "session.max_output_tokens",
        ),
    ],
)
async def test_what_is_wrong_is_named(locked: Gateway, body: bytes, param: str | None) -> None:
    status, answer = await posted(locked, BOB, body)
    assert status == 400
    assert answer["error"]["param"] == param
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]


async def test_a_body_has_a_bound(locked: Gateway) -> None:
    status, answer = await posted(locked, BOB, b" " * (2**20 + 1))
    assert (status, answer["error"]["code"]) == (413, "too_large")
