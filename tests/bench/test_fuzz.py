"""What the fuzzer throws, and what it says of the answers."""

import ast
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fuzz.footprint import bad_lines
from bench.fuzz.frames import frame
from bench.fuzz.grammar import EVENTS, MARK, Grammar
from bench.fuzz.tally import Tally
from bench.fuzz.verdict import must_be_refused, problem

dice_of_any_seed = st.builds(random.Random, st.integers(0, 2**32))


def error(**fields: Any) -> dict[str, Any]:
    usual = {"type": "invalid_request_error", "code": "invalid_value", "message": "x must be y"}
    return {"type": "error", "error": {**usual, "param": None, "event_id": None, **fields}}


@given(dice=dice_of_any_seed)
def test_the_grammar_makes_what_the_official_types_allow(dice: random.Random) -> None:
    for kind in EVENTS:
        assert not must_be_refused(json.dumps(Grammar(dice, ["item_1"]).event(kind)))


def test_most_of_what_is_thrown_must_be_refused() -> None:
    dice = random.Random(1)
    frames = [frame(dice) for _ in range(500)]
    refused = [each for each in frames if must_be_refused(each.data)]
    assert 300 < len(refused) < 500
    assert all(each.malformed for each in refused)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        "",
        "[]",
        '{"type":"response.cancel","x":1}',
        '{"type":"response.cancel","event_id":5}',
        '{"type":"response.cancel","event_id":NaN}',
        '{"type":"response.cancel","event_id":"\\ud800"}',
        '{"type":"conversation.item.truncate","item_id":"a","content_index":0,"audio_end_ms":1e999}',
        "[" * 100_000,
    ],
)
def test_what_the_protocol_does_not_have_must_be_refused(data: str | bytes) -> None:
    assert must_be_refused(data)
    assert problem(data, []) is not None
    assert problem(data, [error()]) is None or "event_id" in str(data)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([error(), error()], "2 errors"),
        ([error(code=None)], "without type or code"),
        ([error(message="no")], "without a sentence"),
        ([error(message="no " * 9_000)], "characters"),
        ([error(param="item.id")], "does not name 'item.id'"),
        ([error(event_id="yours")], "the event_id is 'yours'"),
        ([{"type": "error", "error": {}}], "without the protocol's fields"),
    ],
)
def test_answers_that_mislead_are_told(answer: list[dict[str, Any]], said: str) -> None:
    told = problem('{"type":"response.cancel"}', answer)
    assert told is not None
    assert said in told


def test_lines_that_somebody_else_wrote_into_a_log_are_found(tmp_path: Path) -> None:
    lines = [
        "12:00:00 gateway  session sess_1 opened",
        f"12:00:00 gateway  warning: a client was refused: {MARK!r}",
        f"12:00:00 gateway  {MARK} wrote this",
        f"{MARK}",
        "12:00:00 gateway  error: something broke",
        "Traceback (most recent call last):",
        "12:00:00 gateway  a bell: \x07",
    ]
    (tmp_path / "gateway-0.log").write_text("\n".join([*lines, ""]))
    assert [ast.literal_eval(line) for _, line in bad_lines(tmp_path)] == lines[2:]


def test_a_problem_is_told_a_few_times_and_counted_always() -> None:
    told: list[str] = []
    tally = Tally(told.append)
    for number in range(10):
        tally.wrong("a leak", str(number), "x" * 1_000)
    assert tally.problems == {"a leak": 10}
    assert len(told) == 3
    assert told[0].startswith("a leak: 0, after 'xxx")
    assert told[0].endswith("(of 1000)")
