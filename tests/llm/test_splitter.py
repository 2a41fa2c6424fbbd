"""Segments: early, speakable, and the same however the text came."""

# ruff: noqa: RUF001 - marks that look alike in different scripts are what this is about

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.llm.splitter import Piece, Splitter

# Any text, and text with all that the splitter looks at.
TEXT = st.text(max_size=400) | st.lists(
    st.sampled_from(
        [
            *" \n\t.,;:!?-–—…\"')]*。！？，、」1a中ก한é🙂",
            "word",
            " Dr.",
            " 3.14",
            " U.S.",
            "...",
            " 1.",
            "x" * 90,
        ]
    ),
    max_size=120,
).map("".join)


def fed(chunks: list[str]) -> list[Piece]:
    splitter = Splitter()
    return [piece for chunk in chunks for piece in splitter.feed(chunk)] + splitter.flush()


def joined(pieces: list[Piece]) -> list[str]:
    segments: dict[int, str] = {}
    for piece in pieces:
        segments[piece.segment] = segments.get(piece.segment, "") + piece.text
    assert list(segments) == list(range(len(segments)))
    return list(segments.values())


def split(text: str) -> list[str]:
    return joined(fed([text]))


@st.composite
def chunked(draw: st.DrawFn) -> tuple[str, list[str]]:
    text = draw(TEXT)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=40)))
    ends = [*cuts, len(text)]
    return text, [text[a:b] for a, b in zip([0, *cuts], ends, strict=True)]


@given(chunked())
def test_steps_do_not_matter(case: tuple[str, list[str]]) -> None:
    text, chunks = case
    assert joined(fed(chunks)) == split(text)
    assert joined(fed(list(text))) == split(text)


@given(TEXT)
def test_segments_together_are_the_text(text: str) -> None:
    assert "".join(split(text)) == text


@given(TEXT)
def test_all_but_the_last_have_something_to_say(text: str) -> None:
    for segment in split(text)[:-1]:
        assert any(character.isalnum() for character in segment)


@given(chunked())
def test_every_segment_is_completed_once_and_in_order(case: tuple[str, list[str]]) -> None:
    _, chunks = case
    pieces = fed(chunks)
    assert [p.segment for p in pieces] == sorted(p.segment for p in pieces)
    complete = [p.segment for p in pieces if p.complete]
    assert complete == sorted({p.segment for p in pieces})
    for before, after in pairwise(pieces):
        assert before.complete == (after.segment != before.segment)


@given(chunked(), st.integers(0, 40))
def test_a_successor_goes_on_where_another_stopped(
    case: tuple[str, list[str]], stopped: int
) -> None:
    _, chunks = case
    first = Splitter()
    emitted = [piece for chunk in chunks[:stopped] for piece in first.feed(chunk)]
    second = Splitter()
    assert joined(second.feed("".join(piece.text for piece in emitted))) == joined(emitted)
    rest = [piece for chunk in chunks[stopped:] for piece in second.feed(chunk)]
    assert joined(emitted + rest + second.flush()) == joined(fed(chunks))


@given(TEXT)
def test_every_character_is_placed_as_it_comes(text: str) -> None:
    splitter = Splitter()
    for character in text:
        assert "".join(piece.text for piece in splitter.feed(character)) == character


@given(st.text(alphabet="abcdefg hijklm", min_size=1, max_size=2000))
def test_no_segment_is_endless(text: str) -> None:
    assert max(map(len, split(text))) <= 300


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Yes. It is.", "Yes. "),
        ("Sure! I can do that.", "Sure! "),
        ("Well, I think so, but who knows?", "Well, I think so, "),  # a word is no clause
        ("I like this one: it is green.", "I like this one: "),
        ("The river is long - very long.", "The river is long - "),
        ("I think so—yes, I do.", "I think so—"),
        ("He said hello… and left again.", "He said hello… "),
        ("你好。我很好。", "你好。"),
        ("今天天气很好，我们去公园吧。", "今天天气很好，"),
        ("こんにちは！元気ですか？", "こんにちは！"),
        ("안녕하세요. 반갑습니다.", "안녕하세요. "),
        ("यह अच्छा है। और यह भी।", "यह अच्छा है। "),
        ("**Yes.** It is.", "**Yes.** "),
        ('"Yes." He left.', '"Yes." '),
        ("「はい。」と言った。", "「はい。」"),
        ("---\n\nHello. There.", "---\n\nHello. "),
        ("longer " * 40, "longer " * 7),
        ("word " * 40, "word " * 16),  # a short word may lean on the next one
        (
            "A dog is a domesticated animal that belongs to the Canidae family.",
            "A dog is a domesticated animal that belongs to the Canidae ",
        ),
        (
            "Water will boil at a temperature of roughly 1,000,000 degrees here.",
            "Water will boil at a temperature of roughly 1,000,000 degrees ",
        ),
    ],
)
def test_speech_begins_early(text: str, first: str) -> None:
    assert split(text)[0] == first


@pytest.mark.parametrize(
    "text",
    [
        "It is 3.14 today.",
        "It is 3:30 now.",
        "Ask Dr. Smith.",
        "Ask (Mr. Smith).",
        "Go to St. John.",
        "Fruit, e.g. apples.",
        "The U.S. is big.",
        "J. R. R. Tolkien wrote.",
        "At 5 p.m. tomorrow.",
        "1. Milk",
        "- 2. Milk",
        "See example.com/a?b=c.d now.",
        "It costs 1,000 dollars.",
        "Well... no.",
        "Hello",
        "Hello.",
        "x" * 300,
    ],
)
def test_this_is_one_segment(text: str) -> None:
    assert split(text) == [text]


def test_later_segments_are_sentences() -> None:
    assert split(
        "Here you are. A lighthouse shows ships the way at night. It is short, you see. Fine. "
        "And its lamp is as bright as the sun, so that all can see it."
    ) == [
        "Here you are. ",
        "A lighthouse shows ships the way at night. ",
        "It is short, you see. Fine. And its lamp is as bright as the sun, so that all can see it.",
    ]


def test_lines_are_sentences() -> None:
    assert split("You need this:\n1. A good deal of patience and time\n2. Eggs\n3. Milk\n") == [
        "You need this:\n",
        "1. A good deal of patience and time\n",
        "2. Eggs\n3. Milk\n",
    ]


def test_a_sentence_without_end_is_split_at_a_comma() -> None:
    clause = "and then he went on and on, "
    segments = split("It began. " + clause * 12)
    assert segments[1:] == [clause * 5, clause * 5, clause * 2]


def test_the_text_at_hand_is_told_before_its_segment_is_complete() -> None:
    splitter = Splitter()
    assert splitter.feed("Hel") == [Piece(0, "Hel", False)]
    assert splitter.feed("lo. How") == [Piece(0, "lo. ", True), Piece(1, "How", False)]
    assert splitter.flush() == [Piece(1, "", True)]
    assert splitter.flush() == []
