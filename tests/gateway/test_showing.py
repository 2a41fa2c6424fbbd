"""Where items are in the conversation, as its client is told."""

from types import SimpleNamespace
from typing import Any, cast

from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.showing import MOST_ITEMS, Showing
from gateway.session import Session
from shared.keys import Keyspace
from shared.messages import Committed, Item, ItemAdded, ItemDeleted
from shared.settings import Settings
from tests.gateway.schema import check


def showing(*order: str) -> Showing:
    session = cast(Session, SimpleNamespace(keys=Keyspace(1, 1).session("sess_1"), created=[]))
    configuration = Configuration(Settings(), "parley")
    opened = Showing(session, lambda: configuration, timings=False)
    opened.restore(order)
    return opened


def add(conversation: Showing, item_id: str, after: str | None = None) -> Any:
    """The item before the one that is added."""
    item = Item.of(item_id, "user", "Hi.")
    events = conversation.shown(ItemAdded(item=item, after=after))
    check(*events)
    assert len({event["previous_item_id"] for event in events}) == 1
    return events[0]["previous_item_id"]


def test_each_item_names_the_one_before_it() -> None:
    conversation = showing()
    assert [add(conversation, item) for item in "abc"] == [None, "a", "b"]
    assert add(conversation, "first", after="") is None
    assert add(conversation, "second", after="first") == "first"
    assert add(conversation, "a2", after="a") == "a"
    conversation.shown(ItemDeleted(item_id="a2"))
    assert add(conversation, "a3", after="a") == "a"
    committed, *_ = conversation.shown(Committed(item_id="d", audio_ms=100))
    assert committed["previous_item_id"] == "c"


def test_an_item_that_is_there_already_keeps_its_place() -> None:
    conversation = showing("a", "b", "c")
    assert add(conversation, "b") == "a"
    assert add(conversation, "d") == "c"


def test_the_oldest_are_let_go_of_as_the_broker_does() -> None:
    conversation = showing(*(str(number) for number in range(MOST_ITEMS)))
    assert add(conversation, "last") == str(MOST_ITEMS - 1)
    # "0" is gone; the beginning is kept, for which "1" goes
    assert add(conversation, "first", after="") is None
    # which then is the oldest, and goes itself
    assert add(conversation, "second", after="first") is None
