"""Who gets in: keys in every form that clients have for them, pages that may connect."""

from collections.abc import AsyncIterator

import pytest

from shared.broker import Pipe
from tests.gateway.access import ADA, BOB, bearer, connected, keyed, refused
from tests.gateway.realtime_client import resumed
from tests.gateway.running import Gateway, gateway, instant
from tests.stages import until


@pytest.fixture
async def locked(redis_url: str) -> AsyncIterator[Gateway]:
    """A gateway with keys."""
    async with gateway(keyed(redis_url)) as running:
        yield running


@pytest.fixture
async def open_here(redis_url: str) -> AsyncIterator[Gateway]:
    """A gateway without keys, on a loopback address."""
    async with gateway(instant(redis_url)) as running:
        yield running


@pytest.mark.parametrize(
    ("headers", "subprotocols"),
    [
        ({"Authorization": f"Bearer {ADA}"}, []),
        ({"authorization": f"bearer  {ADA} "}, []),
        ({"X-HF-Authorization": f"Bearer {ADA}"}, []),
        ({}, ["realtime", f"openai-insecure-api-key.{ADA}"]),
        ({"Authorization": "Bearer hf_of-the-proxy"}, [f"openai-insecure-api-key.{BOB}"]),
    ],
)
@pytest.mark.parametrize("path", ["/v1/realtime", "/ws"])
async def test_a_key_lets_in(
    locked: Gateway, headers: dict[str, str], subprotocols: list[str], path: str
) -> None:
    async with connected(locked, headers, ["realtime", *subprotocols], path) as client:
        if path == "/v1/realtime":
            assert client.socket.subprotocol == "realtime"
            assert (await client.next())["type"] == "session.created"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {ADA}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {ADA}x"},
        {"Authorization": "Bearer ek_of-nobody"},
        {"Authorization": "Bearer \u00fc"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/realtime", "/ws"])
async def test_nothing_else_does(locked: Gateway, headers: dict[str, str], path: str) -> None:
    refusal = await refused(locked, headers, path=path)
    assert (refusal.status, refusal.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "key" in refusal.message


async def test_no_session_is_opened_for_who_is_refused(locked: Gateway, pipe: Pipe) -> None:
    await refused(locked)
    assert locked.idle
    assert await pipe.command("KEYS", "*sess_*") == []


async def test_a_ticket_is_enough(locked: Gateway) -> None:
    async with connected(locked, bearer(ADA), ["realtime"]) as client:
        created = await client.next()
        client.vanish()
    async with resumed(locked, created["session"], created["event_id"]) as client:
        assert (await client.next())["type"] == "parley.session.resumed"


async def test_a_session_id_is_no_ticket(locked: Gateway) -> None:
    async with connected(locked, bearer(ADA)) as client:
        session_id = (await client.next())["session"]["id"]
        ticket = f"parley-resume.{session_id}.guessed"
        refusal = await refused(locked, subprotocols=["realtime", ticket], path="/v1/realtime")
        assert refusal.status == 400  # it does not even say what it has heard
        path = "/v1/realtime?after=event_0-0_0_0_0_0_1"
        assert (await refused(locked, subprotocols=["realtime", ticket], path=path)).status == 403
        await client.update(type="realtime", output_modalities=["text"])


async def test_a_session_of_a_key_that_was_taken_back_is_not_resumed(
    locked: Gateway, redis_url: str
) -> None:
    async with connected(locked, bearer(ADA)) as client:
        created = await client.next()
        client.vanish()
    await until(lambda: locked.idle)
    settings = keyed(redis_url)
    async with gateway(settings.model_copy(update={"api_keys": settings.api_keys[1:]})) as later:
        ticket = (
            f"parley-resume.{created['session']['id']}"
            f".{created['session']['parley']['resume']['token']}"
        )
        path = f"/v1/realtime?after={created['event_id']}"
        refusal = await refused(later, subprotocols=["realtime", ticket], path=path)
        assert refusal.status == 403


async def test_without_keys_any_key_will_do(open_here: Gateway) -> None:
    for headers in ({}, bearer("any")):
        async with connected(open_here, headers) as client:
            assert (await client.next())["type"] == "session.created"


async def test_pages_of_other_origins_are_kept_out(open_here: Gateway) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "garbage"):
        assert (await refused(open_here, {"Origin": origin})).status == 403
    async with connected(open_here, {"Origin": f"http://{open_here.host}"}):
        pass


async def test_pages_of_allowed_origins_may_connect(redis_url: str) -> None:
    settings = keyed(redis_url).model_copy(update={"origins": ("https://app.example",)})
    async with gateway(settings) as served:
        async with connected(served, {"Origin": "https://app.example", **bearer(ADA)}):
            pass
        assert (await refused(served, {"Origin": "https://app.example"})).status == 401
        evil = {"Origin": "https://evil.example", **bearer(ADA)}
        assert (await refused(served, evil)).status == 403
    async with (
        gateway(settings.model_copy(update={"origins": ("*",)})) as served,
        connected(served, {"Origin": "https://any.example", **bearer(ADA)}),
    ):
        pass


async def test_a_name_that_resolves_to_this_machine_is_not_this_machine(
    open_here: Gateway, redis_url: str
) -> None:
    rebound = {"Origin": f"http://evil.example:{open_here.host.partition(':')[2]}"}
    assert (await refused(open_here, rebound, name="evil.example")).status == 403
    async with connected(open_here, name="localhost"):
        pass
    behind_a_proxy = instant(redis_url).model_copy(update={"keyless": True})
    async with gateway(behind_a_proxy) as served, connected(served, name="voice.example"):
        pass


@pytest.mark.parametrize(
    "ticket",
    [
        "",
        ".",
        "sess_.token",
        "*.token",
        "sess_" + 24 * "0" + ".token",
        "sess_" + 24 * "0",
    ],
)
async def test_what_looks_like_a_ticket_opens_nothing(open_here: Gateway, ticket: str) -> None:
    path = "/v1/realtime?after=event_0-0_0_0_0_0_1"
    offered = ["realtime", f"parley-resume.{ticket}"]
    refusal = await refused(open_here, subprotocols=offered, path=path)
    assert refusal.status in (400, 404)  # some are no subprotocol at all


@pytest.mark.parametrize(
    "after", ["", "x", "event_99999999999999999999-0_0_0_0_0_1", "%0aevent_0-0_0_0_0_0_1"]
)
async def test_where_a_client_says_it_stands_is_checked(open_here: Gateway, after: str) -> None:
    async with connected(open_here, subprotocols=["realtime"]) as client:
        session = (await client.next())["session"]
        ticket = f"parley-resume.{session['id']}.{session['parley']['resume']['token']}"
        path = f"/v1/realtime?after={after}"
        refusal = await refused(open_here, subprotocols=["realtime", ticket], path=path)
        assert refusal.status == 400
