"""What the tests of who gets in share: keys, and connections that may be refused."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from shared.api_keys import ApiKey, digest
from shared.settings import Settings
from tests.gateway.realtime_client import Client
from tests.gateway.running import Gateway, instant

ADA = "parley_of-ada"
BOB = "parley_of-bob"


def keyed(redis_url: str, **ada: Any) -> Settings:
    """Settings with a key of Ada's, with these limits, and one of Bob's without any."""
    keys = (
        ApiKey(name="ada", sha256=digest(ADA), **ada),
        ApiKey(name="bob", sha256=digest(BOB)),
    )
    return instant(redis_url).model_copy(update={"api_keys": keys})


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Refusal:
    """An HTTP error in place of a WebSocket."""

    status: int
    headers: Any
    message: str


@contextlib.asynccontextmanager
async def connected(
    served: Gateway,
    headers: dict[str, str] | None = None,
    subprotocols: list[str] | None = None,
    path: str = "/v1/realtime",
    name: str | None = None,
) -> AsyncIterator[Client]:
    """A client that says this much of itself, and has the server's address under this name."""
    offered = [Subprotocol(subprotocol) for subprotocol in subprotocols or []]
    host, _, port = served.host.partition(":")
    async with connect(
        f"ws://{name or host}:{port}{path}",
        host=host,
        additional_headers=headers,
        subprotocols=offered or None,
    ) as socket:
        yield Client(socket)


async def refused(served: Gateway, *args: Any, **kwargs: Any) -> Refusal:
    """How a client is refused that must not get in."""
    with pytest.raises(InvalidStatus) as caught:
        async with connected(served, *args, **kwargs):
            pass
    response = caught.value.response
    return Refusal(response.status_code, response.headers, (response.body or b"").decode())
