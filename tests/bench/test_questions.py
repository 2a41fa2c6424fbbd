"""The twenty questions are what they say, and an answer counts only if it says it."""

import pytest

from bench.questions import Question, read
from shared.settings import DEFAULT_INSTRUCTIONS


def test_there_are_twenty_different_questions() -> None:
    questions = read()
    assert len({question.ask for question in questions}) == 20
    assert all(question.accept for question in questions)


def test_the_instructions_do_not_give_answers_away() -> None:
    for question in read():
        assert question.ask not in DEFAULT_INSTRUCTIONS
        assert not question.accepts(DEFAULT_INSTRUCTIONS)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is Seven.", True),
        ("There are twenty-four of them!", True),
        ("Seventy.", False),
        ("Twenty, or four?", False),
        ("", False),
    ],
)
def test_a_phrase_counts_as_whole_words(answer: str, right: bool) -> None:
    assert Question("How many?", ("seven", "twenty four")).accepts(answer) is right
