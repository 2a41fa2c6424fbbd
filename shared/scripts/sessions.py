"""Typed wrappers of the scripts that a session's gateway runs."""

import hashlib
from typing import Literal

from shared.broker import Argument, Pipe
from shared.keys import SessionKeys
from shared.messages import Detached, Interrupted, Item, SessionConfig, encode
from shared.scripts import SESSION_TTL_S
from shared.scripts.jobs import NewResponse


def _header(session: SessionKeys) -> list[Argument]:
    return [SESSION_TTL_S, session.shard.prefix, session.session_id]


async def attach(
    pipe: Pipe,
    session: SessionKeys,
    *,
    gateway: str,
    token: str,
    config: SessionConfig | None,
) -> Literal["ok", "exists", "gone", "denied"]:
    """Makes `gateway` the one that serves the session.

    With a configuration the session is created ("exists" if its id is in use); without one an
    existing session is resumed ("gone" if there is none, "denied" if `token` is not its own).
    The broker keeps and compares only the token's SHA-256.
    """
    arguments = [
        *_header(session),
        gateway,
        hashlib.sha256(token.encode()).hexdigest(),
        encode(config) if config else "",
        encode(Detached()),
        "open" if config else "resume",
    ]
    reply = await pipe.script("attach", [session.state, session.out], arguments)
    return reply.decode()  # type: ignore[no-any-return]


async def configure(
    pipe: Pipe, session: SessionKeys, config: SessionConfig
) -> Literal["ok", "gone"]:
    """Replaces the session's configuration; what is made from here on follows it."""
    arguments = [*_header(session), encode(config)]
    return (await pipe.script("configure", [session.state], arguments)).decode()  # type: ignore[no-any-return]


async def put_item(pipe: Pipe, session: SessionKeys, item: Item) -> Literal["ok", "gone"]:
    """Adds `item` at the conversation's end, or replaces its earlier version."""
    keys = [session.state, session.items, session.order]
    arguments = [*_header(session), item.item_id, encode(item)]
    return (await pipe.script("put_item", keys, arguments)).decode()  # type: ignore[no-any-return]


async def create_response(
    pipe: Pipe, session: SessionKeys, response: NewResponse
) -> Literal["ok", "active", "gone"]:
    """Begins a response; "active" if another one has not ended."""
    keys = [
        session.state,
        session.out,
        session.response(response.response_id),
        session.shard.jobs("llm"),
        session.items,
        session.order,
    ]
    reply = await pipe.script("create_response", keys, [*_header(session), *response.arguments])
    return reply.decode()  # type: ignore[no-any-return]


async def interrupt(
    pipe: Pipe,
    session: SessionKeys,
    reason: Literal["turn_detected", "client_cancelled"] = "client_cancelled",
    *,
    response_id: str = "",
) -> Literal["ok", "idle", "gone"]:
    """Cancels the active response; "idle" if there is none, or it is not the one named."""
    arguments = [*_header(session), response_id, encode(Interrupted(reason=reason))]
    reply = await pipe.script("interrupt", [session.state, session.out], arguments)
    return reply.decode()  # type: ignore[no-any-return]


async def end_response(pipe: Pipe, session: SessionKeys, response_id: str, item: Item) -> None:
    """Ends a response; `item` is what the client heard of it."""
    keys = [session.state, session.response(response_id), session.items]
    arguments = [*_header(session), response_id, item.item_id, encode(item)]
    await pipe.script("end_response", keys, arguments)


async def touch(pipe: Pipe, session: SessionKeys) -> None:
    """Renews the session's keys, which expire when no gateway does so."""
    for key in (session.state, session.out, session.items, session.order):
        await pipe.command("EXPIRE", key, SESSION_TTL_S)


async def forget(pipe: Pipe, session: SessionKeys) -> None:
    """Removes the session's keys; whatever still works for it finds it gone."""
    await pipe.command("DEL", session.state, session.out, session.items, session.order)
