"""What each key has used, day by day."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest

from gateway.access.tally import DAYS
from shared.broker import Pipe
from shared.keys import AccessKeys
from shared.scripts import access as scripts
from tests.gateway.access import ADA, BOB, bearer, connected, keyed
from tests.gateway.realtime_client import resumed, sound
from tests.gateway.running import Gateway, gateway, stages
from tests.stages import until
from tests.support.legacy_client import LegacyClient

KEY = AccessKeys("ada").usage


async def asked(served: Gateway, key: str = "", query: str = "") -> tuple[int, Any]:
    """The answer to GET /v1/usage."""

    def get() -> tuple[int, Any]:
        url = f"http://{served.host}/v1/usage{query}"
        request = urllib.request.Request(url, headers=bearer(key) if key else {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return await asyncio.to_thread(get)


async def answered(pipe: Pipe, responses: int) -> bool:
    """Whether the broker knows of so many responses today."""
    days = (await scripts.used(pipe, KEY)).values()
    return sum(day.get("responses", 0) for day in days) == responses


async def test_a_key_is_told_what_its_clients_used_at_every_gateway(
    redis_url: str, pipe: Pipe
) -> None:
    settings = keyed(redis_url, sessions=4)
    async with stages(settings), gateway(settings) as one, gateway(settings) as other:
        for served in (one, other):
            async with connected(served, bearer(ADA)) as client:
                await client.say("how are you")
                response = await client.answer()
                usage = response["usage"]
        await until(lambda: answered(pipe, 2))
        status, told = await asked(other, ADA)
        assert status == 200
        assert (told["key"], told["limits"]) == ("ada", {"sessions": 4})
        [day] = told["data"]
        assert (day["sessions"], day["responses"]) == (2, 2)
        assert day["input_tokens"] == 2 * usage["input_tokens"]
        assert day["output_tokens"] == 2 * usage["output_token_details"]["text_tokens"]
        assert day["output_audio_seconds"] > 0
        assert (await asked(other, BOB))[1]["data"] == []


async def test_a_session_that_is_resumed_is_one_session(redis_url: str) -> None:
    settings = keyed(redis_url)
    async with stages(settings), gateway(settings) as served:
        async with connected(served, bearer(ADA)) as client:
            created = await client.until("session.created")
            await client.append(np.zeros(24_000, np.int16))
            client.vanish()
        async with resumed(served, created["session"], created["event_id"]) as again:
            await again.until("parley.session.resumed")
            await again.append(np.zeros(12_000, np.int16))
            await again.say("how are you")
            await again.answer()
        _, told = await asked(served, ADA)
        [day] = told["data"]
        assert (day["sessions"], day["responses"]) == (1, 1)
        assert day["input_audio_seconds"] == pytest.approx(1.5, abs=0.05)


async def test_without_keys_everybodys_use_is_told(served: Gateway) -> None:
    def converse() -> None:
        with LegacyClient(f"http://{served.host}") as client:
            client.ask(sound(0.4, 16_000))

    await asyncio.to_thread(converse)
    _, told = await asked(served)
    assert (told["key"], told["limits"]) == (None, {})
    [day] = told["data"]
    assert (day["sessions"], day["responses"]) == (1, 1)
    assert day["input_audio_seconds"] > 0.4
    assert day["output_audio_seconds"] > 0


@pytest.mark.parametrize("days", ["0", "32", "-1", "x", "", "9" * 5000])
async def test_days_that_are_not_known_are_refused(served: Gateway, days: str) -> None:
    status, told = await asked(served, query=f"?days={days}")
    assert (status, told["error"]["param"]) == (400, "days")


async def test_who_has_no_key_of_their_own_is_told_nothing(redis_url: str) -> None:
    async with gateway(keyed(redis_url)) as served:
        assert (await asked(served, "wrong"))[0] == 401

        def mint() -> str:
            url = f"http://{served.host}/v1/realtime/client_secrets"
            with urllib.request.urlopen(urllib.request.Request(url, b"{}", bearer(ADA))) as answer:
                value: str = json.load(answer)["value"]
                return value

        ephemeral = await asyncio.to_thread(mint)
        assert (await asked(served, ephemeral))[0] == 403


async def test_days_long_gone_are_forgotten(pipe: Pipe) -> None:
    today = int((await pipe.command("TIME"))[0]) // 86_400
    for age in (DAYS + 3, DAYS, DAYS - 1):
        await pipe.command("HSET", KEY, f"{today - age}:responses", age)
    await scripts.count_use(pipe, KEY, {"responses": 2}.items(), days=DAYS)
    await scripts.count_use(pipe, KEY, {"responses": 3, "sessions": 1}.items(), days=DAYS)
    kept = await scripts.used(pipe, KEY)
    assert list(kept.values()) == [{"responses": DAYS - 1}, {"responses": 5, "sessions": 1}]
    assert 0 < await pipe.command("TTL", KEY) <= DAYS * 86_400
