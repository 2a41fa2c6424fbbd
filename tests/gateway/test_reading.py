"""The bounds of what an event may hold: they are found out before anything costs much."""

import json
from typing import Any

import pytest

from gateway.protocols.realtime import reading
from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.incoming import parse
from gateway.protocols.realtime.reading import MOST_VALUES

MANY = 200_000


def item(content: Any) -> str:
    message = {"type": "message", "role": "user", "content": content}
    return json.dumps({"type": "conversation.item.create", "item": message})


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"response.cancel","x":[' + "1," * MANY + "1]}",
        '{"type":"response.cancel","x":[' + "[]," * MANY + "1]}",
        '{"type":"response.cancel","x":"' + "[" * MANY + '"}',
        item([1] * MOST_VALUES),
        item([{"type": "input_text"}] * MOST_VALUES),
        item({str(number): 1 for number in range(MOST_VALUES)}),
        # nested instead of side by side: a few commas, and as many values
        item([json.loads("[" * 100 + "]" * 100)] * (MOST_VALUES // 50)),
    ],
)
def test_an_event_of_too_many_values_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="at most 10000 values") as caught:
        parse(text)
    assert caught.value.code == "event_too_large"


def test_an_event_of_as_many_values_as_there_may_be_is_read() -> None:
    reading.check(json.loads(json.dumps({"x": [0] * (MOST_VALUES - 1)})))


def test_the_name_of_an_event_that_is_refused_for_its_size_comes_back() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(json.dumps({"type": "a", "event_id": "mine", "x": [0] * MOST_VALUES}))
    assert caught.value.event_id == "mine"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_integers_that_other_readers_cannot_hold_are_refused(number: int) -> None:
    with pytest.raises(ProtocolError, match="64 bits") as caught:
        parse(json.dumps({"type": "response.cancel", "x": [{"y": number}]}))
    assert caught.value.param == "x.0.y"


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_numbers_without_end_are_refused(number: str) -> None:
    with pytest.raises(ProtocolError, match="64 bits"):
        parse(f'{{"type": "response.cancel", "x": {number}}}')


def test_the_largest_numbers_are_read() -> None:
    assert reading.read("[9223372036854775807]") == [2**63 - 1]
    reading.check({"x": [2**63 - 1, -(2**63), 1e308]})


def test_a_long_name_comes_back_in_part() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(json.dumps({"type": "response.cancel", "x" * 100_000: 1}))
    assert caught.value.code == "unknown_parameter"
    assert len(caught.value.message) < 1_000
