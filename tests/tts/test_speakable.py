"""What of a text is pronounced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.tts.speakable import speakable

MARKDOWN = st.lists(
    st.sampled_from(
        [
            *"*_`#>-+|~[]()!<>&\\ \n1.a",
            "**",
            "```",
            "https://a.b/",
            "word",
            "- ",
            "1. ",
            "🙂",
            "<b>",
        ]
    ),
    max_size=40,
).map("".join)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hello there.", "Hello there."),
        ("**Hello** _there_, `you`!", "Hello there, you!"),
        ("# A heading\nAnd its text.", "A heading. And its text."),
        ("- milk\n- eggs\n", "milk. eggs"),
        ("1. milk\n2. eggs", "1. milk. 2. eggs"),
        ("2. eggs", "2. eggs"),
        ("> He said so.", "He said so."),
        ("a [link](https://example.com) here", "a link here"),
        ("see https://www.example.com/a?b=c, or not", "see example.com, or not"),
        ("at https://example.com.", "at example.com."),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a. b. 1. 2"),
        ("```py\nprint(1)\n```", "print(1)"),
        ("one<br>two <b>three</b>.", "one two three."),
        ("~~no~~ yes", "no yes"),
        ("salt &amp; pepper", "salt & pepper"),
    ],
)
def test_markdown_is_not_read_aloud(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hello 😀 there 👨‍👩‍👧 and 👍🏽!", "Hello there and !"),
        ("Press 1️⃣ now", "Press 1 now"),
        ("a → b", "a b"),
        ("20 °C, 5 % and $3", "20 °C, 5 % and $3"),
        ("2*3 is 6", "2 × 3 is 6"),  # noqa: RUF001
        ("snake_case", "snake_case"),
        ("one\ttwo\n three\u00a0four\u200b", "one two three four"),
        ("    far from the margin", "far from the margin"),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया।"),
        ("日本語です。", "日本語です。"),
    ],
)
def test_symbols_go_unless_they_have_a_name(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [("**It begins", "It begins"), ("and ends.** So", "and ends. So"), ("`a", "a"), ("### ", "")],
)
def test_a_segment_may_end_in_the_middle_of_its_markdown(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


@pytest.mark.parametrize("text", ["", " \n", "...", "***", "🙂🙂", "---", "| |"])
def test_there_may_be_nothing_to_say(text: str) -> None:
    assert speakable(text) == ""


@given(st.text(max_size=200) | MARKDOWN)
def test_it_is_one_clean_line(text: str) -> None:
    spoken = speakable(text)
    assert spoken == " ".join(spoken.split())
    assert not spoken or any(character.isalnum() for character in spoken)
    assert not set("*`|~\0") & set(spoken)
