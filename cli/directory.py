"""The sessions that a broker holds, as `parley sessions` shows them and prints them as JSON."""

import asyncio
from typing import Any, Literal

import msgspec

from cli.reach import broker_ms
from shared import gateways
from shared.broker import Pipe
from shared.keys import Keyspace, SessionKeys
from shared.messages import AnyItem, FunctionCall, Item, ListenerState, SessionConfig, decode

MOST = 1000
"""Sessions that are listed at once."""

_STATES = "parley:{*}:session:*"
_PAGE = 1000
# What a configuration holds of the words that somebody chose.
_WORDS = ("instructions", "transcription_prompt", "tooling")

State = Literal["speaking", "answering", "idle"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session without a word of what is said in it.

    `gateway` is the one that its client is connected to; without one it waits, and ends in
    `ends_in_s` unless its client comes back. `key` is the name of the API key that opened it, if
    keys are asked for. `state` is whether the user speaks, or is answered. `turns` are what the
    user said aloud, `items` the messages that the conversation holds.
    """

    id: str
    state: State
    gateway: str | None
    ends_in_s: int | None
    age_s: float
    key: str | None
    turns: int
    items: int
    modality: str
    voice: str | None
    language: str | None


class Said(msgspec.Struct, frozen=True):
    """A message of the conversation: `text` is None while it is being transcribed."""

    item_id: str
    role: str
    text: str | None


class Whole(Session, frozen=True, kw_only=True):
    """A session with its configuration; `conversation` is None unless it was asked for."""

    configuration: dict[str, Any]
    conversation: list[Said] | None


class _Owner(msgspec.Struct, frozen=True):
    """Of what a gateway notes about a session that an API key opened."""

    key: str


async def sessions(pipe: Pipe, keyspace: Keyspace) -> tuple[list[Session], bool]:
    """The sessions there are, the newest first, and whether there are more than these."""
    names, more = await _names(pipe)
    connected = {info.gateway_id for info in await gateways.living(pipe)}
    now_s = await broker_ms(pipe) / 1000
    found = await asyncio.gather(
        *(_session(pipe, keyspace, name, connected, now_s) for name in names)
    )
    known = [session for session in found if session is not None]
    return sorted(known, key=lambda session: session.age_s), more


async def whole(pipe: Pipe, keyspace: Keyspace, session_id: str, *, text: bool) -> Whole | None:
    """A session with its configuration and, if `text` is asked for, what was said; None if there
    is no such session."""
    connected = {info.gateway_id for info in await gateways.living(pipe)}
    now_s = await broker_ms(pipe) / 1000
    session = await _session(pipe, keyspace, session_id, connected, now_s)
    keys = keyspace.session(session_id)
    saved = await pipe.command("HGET", keys.state, "config")
    if session is None or saved is None:
        return None
    configuration = msgspec.to_builtins(decode(saved, SessionConfig))
    hidden = {"v", "type", "protocol", *(() if text else _WORDS)}
    return Whole(
        **msgspec.structs.asdict(session),
        configuration={name: each for name, each in configuration.items() if name not in hidden},
        conversation=await _conversation(pipe, keys) if text else None,
    )


async def _names(pipe: Pipe) -> tuple[list[str], bool]:
    """Ids of sessions, found a page of keys at a time so that the broker is never held up."""
    names: dict[str, None] = {}
    cursor = 0
    while True:
        reply = await pipe.command("SCAN", cursor, "MATCH", _STATES, "COUNT", _PAGE)
        cursor = int(reply[0])
        names |= dict.fromkeys(key.decode().rpartition(":")[2] for key in reply[1])
        if len(names) > MOST or cursor == 0:
            return [*names][:MOST], len(names) > MOST


async def _session(
    pipe: Pipe, keyspace: Keyspace, session_id: str, connected: set[str], now_s: float
) -> Session | None:
    keys = keyspace.session(session_id)
    fields, ttl_s, items, owner, heard = await asyncio.gather(
        pipe.command("HMGET", keys.state, "config", "gateway", "opened", "response"),
        pipe.command("TTL", keys.state),
        pipe.command("LLEN", keys.order),
        pipe.command("GET", keys.owner),
        pipe.command("HGET", keyspace.lane(session_id).checkpoint, session_id),
    )
    saved, gateway, opened, response = fields
    if saved is None:
        return None  # it has ended meanwhile
    config = decode(saved, SessionConfig)
    listener = decode(heard, ListenerState) if heard else None
    # The gateway of a session may have died without letting go of it.
    serving = gateway.decode() if gateway and gateway.decode() in connected else None
    speaking = listener is not None and listener.speaking
    return Session(
        id=session_id,
        state="speaking" if speaking else "answering" if response else "idle",
        gateway=serving,
        ends_in_s=ttl_s if serving is None else None,
        age_s=round(now_s - int(opened), 1),
        key=msgspec.json.decode(owner, type=_Owner).key if owner else None,
        turns=listener.turn if listener else 0,
        items=items,
        modality=config.modality,
        voice=config.voice,
        language=config.language,
    )


async def _conversation(pipe: Pipe, keys: SessionKeys) -> list[Said]:
    names = await pipe.command("LRANGE", keys.order, 0, -1)
    saved = await pipe.command("HMGET", keys.items, *names) if names else []
    return [_said(decode(each, AnyItem)) for each in saved if each is not None]  # type: ignore[arg-type]


def _said(item: AnyItem) -> Said:
    if isinstance(item, Item):
        return Said(item.item_id, item.role, item.text)
    if isinstance(item, FunctionCall):
        return Said(item.item_id, "function call", f"{item.name}({item.arguments})")
    return Said(item.item_id, "function output", item.output)
