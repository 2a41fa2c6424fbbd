"""Whose turn an error is, and how sure a difference: bench.recognition."""

import pytest

from bench.recognition import Compared, Heard, beyond, errors, word_error_rate


def turns(
    said: str, parley: list[str], defaults: list[str], language: str = "en"
) -> list[Compared]:
    """The turns of one recording as both heard them."""
    return [
        Compared(
            model="whisper-base",
            speakers="readers",
            language=language,
            condition="clean",
            recording="a reading",
            said=said,
            seconds=2.0,
            full_window=False,
            parley=Heard(ours, 0.1, 0.1),
            defaults=Heard(theirs, 0.5, 0.5),
        )
        for ours, theirs in zip(parley, defaults, strict=True)
    ]


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        (["One two three.", "Four, five, six."], [0, 0]),
        (["One tow three.", "Four, five, six."], [1, 0]),  # another word
        (["One two three.", "Four five."], [0, 1]),  # a word less
        (["One two three.", "Six."], [0, 2]),
        (["One two three.", "And four, five, six!"], [0, 1]),  # a word more
        (["", "four five six"], [0, 3]),  # what nobody heard counts where hearing goes on
        (["", ""], [6, 0]),
        (["1, 2, 3", "4 5 6"], [0, 0]),
    ],
)
def test_an_error_belongs_to_the_turn_it_is_in(heard: list[str], wrong: list[int]) -> None:
    rows = turns("One two three four five six.", heard, heard)
    assert errors(rows, "parley") == (6, wrong)
    assert word_error_rate(rows, "parley") == (6, sum(wrong) / 6)


def test_characters_count_where_words_are_not_set_apart() -> None:
    rows = turns("你好世界", ["你好", "时界"], ["你好", "世界"], language="zh")
    assert errors(rows, "parley") == (4, [0, 1])


def test_a_recording_is_held_against_its_own_text() -> None:
    rows = turns("one two", ["one two"], ["one"]) + turns("three four", ["three four"], ["four"])
    assert errors(rows, "parley") == (4, [0, 0])
    assert errors(rows, "defaults") == (4, [1, 1])


def test_a_difference_that_every_turn_shows_is_sure() -> None:
    said = ["one two three", "four five six"]
    rows = turns(" ".join(said), said, ["one three", "four six"])
    assert beyond(rows) == pytest.approx((-100 / 3, -100 / 3))


def test_a_difference_of_one_turn_may_be_none() -> None:
    said = " ".join(["word"] * 20)
    rows = turns(said, ["word"] * 19 + ["other"], ["word"] * 20)
    low, high = beyond(rows)
    assert low == 0.0
    assert 5.0 <= high <= 20.0
