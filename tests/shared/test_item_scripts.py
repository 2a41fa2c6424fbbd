"""The scripts of a conversation's items: what a client adds, changes and takes out."""

from collections.abc import Awaitable, Callable

import pytest

from shared.broker import Pipe, fields_of
from shared.keys import SessionKeys
from shared.messages import (
    AnyItem,
    FunctionCall,
    FunctionOutput,
    Item,
    ItemAdded,
    ItemDeleted,
    ItemRetrieved,
    Message,
    SttJob,
    Truncated,
    decode,
)
from shared.scripts import sessions
from shared.scripts.sessions import Attachment
from tests.stages import held, jobs_of, open_session

MOST = 256


@pytest.fixture
async def session(pipe: Pipe) -> SessionKeys:
    return await open_session(pipe)


async def order(pipe: Pipe, session: SessionKeys) -> list[str]:
    return [name.decode() for name in await pipe.command("LRANGE", session.order, 0, -1)]


async def everything_shown(pipe: Pipe, session: SessionKeys) -> list[Message]:
    reply = await pipe.command("XRANGE", session.out, "-", "+")
    return [decode(fields_of(fields)[b"m"], Message) for _, fields in reply]


def said(item_id: str, text: str = "Hello.") -> Item:
    return Item.of(item_id, "user", text)


async def test_items_are_added_at_the_end_at_the_beginning_and_in_between(
    pipe: Pipe, session: SessionKeys
) -> None:
    hold = held(session)
    items: list[AnyItem] = [
        said("one"),
        FunctionCall(item_id="two", call_id="call", name="f", arguments="{}"),
        FunctionOutput(item_id="three", call_id="call", output="1"),
        said("four"),
    ]
    places = [None, None, "", "one"]
    for item, after in zip(items, places, strict=True):
        assert await sessions.add_item(pipe, hold, item, after=after) == "ok"
    assert await order(pipe, session) == ["three", "one", "four", "two"]
    shown = [ItemAdded(item=i, after=after) for i, after in zip(items, places, strict=True)]
    assert await everything_shown(pipe, session) == shown
    saved = await pipe.command("HGET", session.items, "two")
    assert decode(saved, FunctionCall) == items[1]


async def test_what_cannot_be_added_changes_nothing(pipe: Pipe, session: SessionKeys) -> None:
    hold = held(session)
    assert await sessions.add_item(pipe, hold, said("one")) == "ok"
    before = await everything_shown(pipe, session)
    assert await sessions.add_item(pipe, hold, said("one", "again"), request=1) == "exists"
    assert await sessions.add_item(pipe, hold, said("two"), after="three", request=2) == "unknown"
    assert await sessions.add_item(pipe, hold, said("two"), after="two", request=3) == "unknown"
    assert await everything_shown(pipe, session) == before
    assert await order(pipe, session) == ["one"]
    assert await pipe.command("HGET", session.state, "requests") == b"0"
    assert await sessions.add_item(pipe, Attachment(session, "other"), said("two")) == "detached"


async def test_a_request_that_is_sent_again_is_carried_out_once(
    pipe: Pipe, session: SessionKeys
) -> None:
    hold = held(session)
    job = SttJob(session_id=session.session_id, item_id="one", turn=1, pcm=b"")
    cut = Truncated(item_id="one", audio_end_ms=10)
    told = ItemRetrieved(item=said("one"))
    requests: list[Callable[[], Awaitable[str]]] = [
        lambda: sessions.add_item(pipe, hold, said("one"), job=job, request=1),
        lambda: sessions.replace_item(pipe, hold, said("one", "H"), cut, request=2),
        lambda: sessions.tell(pipe, hold, told, request=3),
        lambda: sessions.delete_item(pipe, hold, "one", request=4),
    ]
    for request in requests:
        assert [await request(), await request()] == ["ok", "ok"]
    added = ItemAdded(item=said("one"))
    shown = [added, cut, told, ItemDeleted(item_id="one")]
    assert await everything_shown(pipe, session) == shown
    assert await jobs_of(pipe, "stt") == [job]


async def test_an_item_that_was_taken_out_is_missing_and_its_name_is_free(
    pipe: Pipe, session: SessionKeys
) -> None:
    hold = held(session)
    for name in ("one", "two"):
        await sessions.add_item(pipe, hold, said(name))
    assert await sessions.delete_item(pipe, hold, "one") == "ok"
    assert await order(pipe, session) == ["two"]
    before = await everything_shown(pipe, session)
    cut = Truncated(item_id="one", audio_end_ms=10)
    assert await sessions.delete_item(pipe, hold, "one") == "missing"
    assert await sessions.replace_item(pipe, hold, said("one"), cut) == "missing"
    assert await everything_shown(pipe, session) == before
    assert await sessions.add_item(pipe, hold, said("one")) == "ok"
    assert await order(pipe, session) == ["two", "one"]


async def test_a_replaced_item_keeps_its_place(pipe: Pipe, session: SessionKeys) -> None:
    hold = held(session)
    for name in ("one", "two"):
        await sessions.add_item(pipe, hold, said(name))
    cut = Truncated(item_id="one", audio_end_ms=10)
    assert await sessions.replace_item(pipe, hold, said("one", "H"), cut) == "ok"
    assert await order(pipe, session) == ["one", "two"]
    assert decode(await pipe.command("HGET", session.items, "one"), Item) == said("one", "H")


@pytest.mark.parametrize("after", [None, "", "n 0", "n 100", "n 255"])
async def test_a_full_conversation_keeps_what_is_added_and_lets_the_oldest_go(
    pipe: Pipe, session: SessionKeys, after: str | None
) -> None:
    hold, names = held(session), [f"n {number}" for number in range(MOST)]
    for name in names:
        await sessions.add_item(pipe, hold, said(name))
    assert await sessions.add_item(pipe, hold, said("new"), after=after) == "ok"
    at = MOST if after is None else names.index(after) + 1 if after else 1
    left = [*names[:at], "new", *names[at:]][1:]
    assert await order(pipe, session) == left
    kept = await pipe.command("HKEYS", session.items)
    assert sorted(name.decode() for name in kept) == sorted(left)


@pytest.mark.parametrize("name", ["a b", "*", "@", "{0}:items", "é\n", "0", "x" * 256])
async def test_an_item_is_named_as_its_client_likes(
    pipe: Pipe, session: SessionKeys, name: str
) -> None:
    hold = held(session)
    assert await sessions.add_item(pipe, hold, said(name)) == "ok"
    assert await sessions.add_item(pipe, hold, said("next"), after=name) == "ok"
    assert await order(pipe, session) == [name, "next"]
    assert await sessions.delete_item(pipe, hold, name) == "ok"
    assert await order(pipe, session) == ["next"]


async def test_a_session_that_ended_has_no_items(pipe: Pipe, session: SessionKeys) -> None:
    hold = held(session)
    await sessions.close(pipe, hold)
    assert await sessions.add_item(pipe, hold, said("one")) == "gone"
    assert await sessions.delete_item(pipe, hold, "one") == "gone"
    assert await sessions.tell(pipe, hold, ItemDeleted(item_id="one")) == "gone"
    cut = Truncated(item_id="one", audio_end_ms=10)
    assert await sessions.replace_item(pipe, hold, said("one"), cut) == "gone"
    assert await pipe.command("EXISTS", session.items, session.order, session.out) == 0
