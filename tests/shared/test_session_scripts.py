"""The scripts of sessions: who may serve one, and what it keeps."""

import asyncio

import pytest

from shared.broker import Pipe
from shared.ids import new_id
from shared.keys import Keyspace, SessionKeys
from shared.messages import Closed, Detached, Item, SessionConfig
from shared.scripts import sessions
from shared.scripts.sessions import Attachment
from tests.stages import ask, held, shown

KEYSPACE = Keyspace(shards=3, lanes=4)


@pytest.fixture
async def session(pipe: Pipe) -> SessionKeys:
    keys = KEYSPACE.session(new_id("sess"))
    status = await sessions.attach(
        pipe, held(keys), gateway="gw_1", token="secret", config=SessionConfig()
    )
    assert status == "ok"
    return keys


async def test_a_session_is_resumed_only_with_its_token(pipe: Pipe, session: SessionKeys) -> None:
    async def attach(token: str, hold: str) -> str:
        attachment = Attachment(session, hold)
        return await sessions.attach(pipe, attachment, gateway="gw_2", token=token, config=None)

    assert await attach("guess", "att_2") == "denied"
    assert await pipe.command("HGET", session.state, "gateway") == b"gw_1"
    assert await attach("secret", "att_2") == "ok"
    assert await pipe.command("HGET", session.state, "gateway") == b"gw_2"
    assert await shown(pipe, session) == [Detached(attachment="att_2")]
    # made again after its reply got lost
    assert await attach("secret", "att_2") == "ok"
    assert len(await shown(pipe, session)) == 1
    stored = await pipe.command("HGETALL", session.state)
    assert b"secret" not in b"".join(stored)


async def test_opening_takes_no_existing_session(pipe: Pipe, session: SessionKeys) -> None:
    status = await sessions.attach(
        pipe, Attachment(session, "att_2"), gateway="gw_2", token="secret", config=SessionConfig()
    )
    assert status == "exists"
    nobody = KEYSPACE.session(new_id("sess"))
    status = await sessions.attach(pipe, held(nobody), gateway="gw_2", token="secret", config=None)
    assert status == "gone"


async def test_a_conversation_keeps_its_latest_items(pipe: Pipe, session: SessionKeys) -> None:
    items = [Item.of(item_id=f"item_{n}", role="user", text=str(n)) for n in range(300)]
    hold = held(session)
    await asyncio.gather(*(sessions.add_item(pipe, hold, item) for item in items))
    order = await pipe.command("LRANGE", session.order, 0, -1)
    assert order == [item.item_id.encode() for item in items[-256:]]
    kept = await pipe.command("HKEYS", session.items)
    assert sorted(kept) == sorted(order)


async def test_a_session_that_is_let_go_has_no_gateway_until_it_is_resumed(
    pipe: Pipe, session: SessionKeys
) -> None:
    assert await sessions.detach(pipe, Attachment(session, "att_2")) == "detached"
    assert await pipe.command("HGET", session.state, "gateway") == b"gw_1"
    assert await sessions.detach(pipe, held(session)) == "ok"
    assert await pipe.command("HGET", session.state, "gateway") is None
    hold = Attachment(session, "att_2")
    assert await sessions.attach(pipe, hold, gateway="gw_2", token="secret", config=None) == "ok"
    assert await sessions.detach(pipe, held(session)) == "detached"
    assert await pipe.command("HGET", session.state, "gateway") == b"gw_2"


async def test_of_a_session_that_was_ended_only_the_news_of_it_is_left(
    pipe: Pipe, session: SessionKeys
) -> None:
    await ask(pipe, session, "What is it?")
    await pipe.command("SET", session.owner, "somebody", "EX", 60)
    assert await sessions.end_session(pipe, session, "an operator ended it") == "ok"
    assert (await shown(pipe, session))[-1] == Closed(reason="an operator ended it")
    assert await pipe.command("KEYS", "*:session:*") == []
    left = {*await pipe.command("KEYS", f"*{session.session_id}*")}
    assert left == {session.out.encode()}
    assert await pipe.command("KEYS", "*:response:*") == []
    hold = Attachment(session, "att_2")
    assert await sessions.attach(pipe, hold, gateway="gw_2", token="secret", config=None) == "gone"
    assert await sessions.end_session(pipe, session, "again") == "gone"
