"""Typed wrappers of the scripts that a session's gateway runs."""

# mypy: disable-error-code="no-any-return"

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.broker import Argument, Pipe
from shared.keys import SessionKeys
from shared.messages import (
    AnyItem,
    Closed,
    Configured,
    Detached,
    Interrupted,
    Item,
    ItemAdded,
    ItemDeleted,
    OutMessage,
    SessionConfig,
    SttJob,
    Truncated,
    encode,
)
from shared.scripts import SESSION_TTL_S
from shared.scripts.jobs import NewResponse

Held = Literal["gone", "detached"]
"""The session has ended; another gateway serves it."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """The hold that a gateway has on a session; scripts refuse a hold that another one follows."""

    keys: SessionKeys
    attachment_id: str


def digest(token: str) -> str:
    """What the broker keeps of a resume token: its SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()


async def attach(
    pipe: Pipe,
    hold: Attachment,
    *,
    gateway: str,
    token: str,
    config: SessionConfig | None,
) -> Literal["ok", "exists", "gone", "denied"]:
    """Makes `gateway` the one that serves the session.

    With a configuration the session is created ("exists" if its id is in use); without one an
    existing session is resumed ("gone" if there is none, "denied" if `token` is not its own).
    """
    session = hold.keys
    arguments = [
        *_header(session),
        gateway,
        hold.attachment_id,
        digest(token),
        encode(config) if config else "",
        encode(Detached(attachment=hold.attachment_id)),
        "open" if config else "resume",
    ]
    return await _run(pipe, "attach", [session.state, session.out], arguments)


async def configure(
    pipe: Pipe, hold: Attachment, config: SessionConfig, *, request: int = 0
) -> Literal["ok"] | Held:
    """Replaces the session's configuration; what is made from here on follows it.

    Here and below `request` is the number of the client's request: one that was carried out
    before is "ok" and does nothing. 0 is no request.
    """
    shown = Configured(protocol=config.protocol)
    arguments = [*_admission(hold, request), encode(config), encode(shown)]
    return await _run(pipe, "configure", [hold.keys.state, hold.keys.out], arguments)


async def add_item(
    pipe: Pipe,
    hold: Attachment,
    item: AnyItem,
    *,
    after: str | None = None,
    job: SttJob | None = None,
    request: int = 0,
) -> Literal["ok", "exists", "unknown"] | Held:
    """Adds `item` after the item `after`, "" for the conversation's beginning, None for its end.

    `job` transcribes audio in it. "exists" if the conversation has an item of that id, "unknown" if
    it has none `after` which to come.
    """
    session = hold.keys
    keys = [session.state, session.out, session.items, session.order, session.shard.jobs("stt")]
    arguments = [
        *_admission(hold, request),
        item.item_id,
        encode(item),
        encode(ItemAdded(item=item, after=after)),
        "end" if after is None else "after" if after else "root",
        after or "",
        *([1, encode(job)] if job else [0]),
    ]
    return await _run(pipe, "add_item", keys, arguments)


async def replace_item(
    pipe: Pipe, hold: Attachment, item: AnyItem, shown: Truncated, *, request: int = 0
) -> Literal["ok", "missing"] | Held:
    """Replaces an item by another version of it, if the conversation still has it."""
    session = hold.keys
    keys = [session.state, session.out, session.items]
    arguments = [*_admission(hold, request), item.item_id, encode(item), encode(shown)]
    return await _run(pipe, "replace_item", keys, arguments)


async def delete_item(
    pipe: Pipe, hold: Attachment, item_id: str, *, request: int = 0
) -> Literal["ok", "missing"] | Held:
    """Takes an item out of the conversation; "missing" if it is not in it."""
    session = hold.keys
    keys = [session.state, session.out, session.items, session.order]
    shown = ItemDeleted(item_id=item_id)
    arguments = [*_admission(hold, request), item_id, encode(shown)]
    return await _run(pipe, "delete_item", keys, arguments)


async def tell(
    pipe: Pipe, hold: Attachment, message: OutMessage, *, request: int = 0
) -> Literal["ok"] | Held:
    """Shows the client what it asked for."""
    arguments = [*_admission(hold, request), encode(message)]
    return await _run(pipe, "tell", [hold.keys.state, hold.keys.out], arguments)


async def create_response(
    pipe: Pipe, hold: Attachment, response: NewResponse, *, request: int = 0
) -> Literal["ok", "active"] | Held:
    """Begins a response; "active" if another one has not ended, or too many are aside."""
    session = hold.keys
    keys = [
        session.state,
        session.out,
        session.response(response.response_id),
        session.shard.jobs("llm"),
        session.items,
        session.order,
    ]
    aside = "1" if response.created.aside else "0"
    arguments = [*_admission(hold, request), aside, *response.arguments]
    return await _run(pipe, "create_response", keys, arguments)


async def interrupt(
    pipe: Pipe,
    hold: Attachment,
    reason: Literal["turn_detected", "client_cancelled"] = "client_cancelled",
    *,
    response_id: str = "",
    then: Sequence[OutMessage] = (),
    request: int = 0,
) -> Literal["ok", "idle"] | Held:
    """Cancels the active response, or the one that is named, and shows what comes `then`.

    "idle" if there is none, or it is not the one named.
    """
    cancelled = Interrupted(reason=reason, response_id=response_id)
    messages = [encode(message) for message in (cancelled, *then)]
    arguments = [*_admission(hold, request), response_id, len(messages), *messages]
    return await _run(pipe, "interrupt", [hold.keys.state, hold.keys.out], arguments)


async def end_response(
    pipe: Pipe,
    hold: Attachment,
    response_id: str,
    item: Item,
    entry: str,
    *,
    aside: bool = False,
) -> Literal["ok"] | Held:
    """Ends a response; `item` is what the client heard of it, `entry` the last of the session's
    output that was taken in."""
    session = hold.keys
    keys = [session.state, session.out, session.response(response_id), session.items]
    arguments = [
        *_admission(hold, 0),
        response_id,
        item.item_id,
        encode(item),
        entry,
        "1" if aside else "0",
    ]
    return await _run(pipe, "end_response", keys, arguments)


async def close(pipe: Pipe, hold: Attachment) -> Literal["ok"] | Held:
    """Ends the session and removes its keys; whatever still works for it finds it gone."""
    session = hold.keys
    keys = [session.state, session.out, session.items, session.order]
    return await _run(pipe, "close", keys, _admission(hold, 0))


async def detach(pipe: Pipe, hold: Attachment) -> Literal["ok"] | Held:
    """Lets go of the session, which waits for its client."""
    return await _run(pipe, "detach", [hold.keys.state], _admission(hold, 0))


async def end_session(pipe: Pipe, session: SessionKeys, reason: str) -> Literal["ok", "gone"]:
    """Ends a session from outside, whoever serves it; its client is told the `reason`."""
    keys = [session.state, session.out, session.items, session.order, session.owner]
    arguments = [*_header(session), encode(Closed(reason=reason))]
    return await _run(pipe, "end_session", keys, arguments)


async def touch(pipe: Pipe, session: SessionKeys) -> Literal["ok", "gone"]:
    """Renews the session's keys, which expire when no gateway does so."""
    keys = [session.state, session.out, session.items, session.order]
    return await _run(pipe, "touch", keys, _header(session))


async def _run(pipe: Pipe, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    """The script's status: which there are is its wrapper's contract."""
    return (await pipe.script(name, keys, arguments)).decode()


def _admission(hold: Attachment, request: int) -> list[Argument]:
    return [*_header(hold.keys), hold.attachment_id, request]


def _header(session: SessionKeys) -> list[Argument]:
    return [SESSION_TTL_S, session.shard.prefix, session.session_id]
