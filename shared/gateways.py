"""Which gateways there are and how they do: each signs in with the broker, as workers do."""

import asyncio
import os
import socket
from collections.abc import Callable

import msgspec

from shared.broker import Argument, Pipe
from shared.footprint import Footprint
from shared.heartbeat import FORGET_MS, alive
from shared.keys import GATEWAYS

_INTERVAL_S = 1.0


class GatewayInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a gateway says of itself.

    `sessions` have their connection here; `opened`, `resumed` and `refused` count since it began.
    `voice_to_voice` and, by the names of `shared.waterfall`, its `parts` are how long the turns of
    the last five minutes took, as counts of `shared.recent`.
    """

    gateway_id: str
    sessions: int = 0
    opened: int = 0
    resumed: int = 0
    refused: int = 0
    voice_to_voice: dict[int, int] = {}
    parts: dict[str, dict[int, int]] = {}
    footprint: Footprint = Footprint()
    host: str = msgspec.field(default_factory=socket.gethostname)
    pid: int = msgspec.field(default_factory=os.getpid)


async def sign_in(pipe: Pipe, info: GatewayInfo) -> None:
    """Notes that the gateway is alive."""
    await _note(pipe, info.gateway_id, msgspec.json.encode(info))


async def sign_off(pipe: Pipe, gateway_id: str) -> None:
    """Takes the gateway off the list at once."""
    await _note(pipe, gateway_id, b"")


async def keep_signing_in(pipe: Pipe, describe: Callable[[], GatewayInfo]) -> None:
    """Signs in once a second, until cancelled."""
    while True:
        await sign_in(pipe, describe())
        await asyncio.sleep(_INTERVAL_S)


async def living(pipe: Pipe) -> list[GatewayInfo]:
    """The gateways that signed in within the last four seconds."""
    return [msgspec.json.decode(info, type=GatewayInfo) for info in await alive(pipe, GATEWAYS)]


async def _note(pipe: Pipe, gateway_id: str, description: bytes) -> None:
    arguments: list[Argument] = [0, "", "", gateway_id, description, FORGET_MS]
    await pipe.script("heartbeat", [GATEWAYS], arguments)
