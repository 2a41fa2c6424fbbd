"""Calls in what a model writes: found wherever the text is cut into pieces, and never in words."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.llm.engines import Call
from workers.llm.engines.recognised import BareCalls, Recogniser, TaggedCalls, recogniser

ROME = Call("get_weather", '{"city": "Rome"}')
OSLO = Call("get_weather", '{"city": "Oslo"}')
TAGGED_ROME = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
TAGGED_OSLO = TAGGED_ROME.replace("Rome", "Oslo")
BARE_ROME = '{"name": "get_weather", "parameters": {"city": "Rome"}}'
BARE_OSLO = BARE_ROME.replace("Rome", "Oslo")

TAGGED = {
    "Hello there.": ("Hello there.", []),
    "": ("", []),
    TAGGED_ROME: ("", [ROME]),
    f"Let me see.\n{TAGGED_ROME}": ("Let me see.", [ROME]),
    f"{TAGGED_ROME}\n{TAGGED_OSLO}": ("", [ROME, OSLO]),
    f"{TAGGED_ROME} It is sunny.": ("", [ROME]),
    "a < b and <tool> and <tool_cal": ("a < b and <tool> and <tool_cal", []),
    'I use {"name": "x"} here.': ('I use {"name": "x"} here.', []),
    '<tool_call>{"name": "say", "arguments": {"text": "</tool_call> }\\" {"}}</tool_call>': (
        "",
        [Call("say", '{"text": "</tool_call> }\\" {"}')],
    ),
    '<tool_call>{"name": "clock"}</tool_call>': ("", [Call("clock", "{}")]),
    '<tool_call>{"name": "say", "arguments": "{\\"text\\": \\"é\\"}"}</tool_call>': (
        "",
        [Call("say", '{"text": "é"}')],
    ),
    '<tool_call>{"name": "get_weather", "arguments": {"city": "Ro': (
        "",
        [Call("get_weather", '{"city": "Ro', complete=False)],
    ),
    '<tool_call>{"name": "get_weather", "arg': ("", [Call("get_weather", "", complete=False)]),
    '<tool_call>{"name": "get_wea': ("", []),
    "<tool_call>get_weather(Rome)</tool_call>": ("", []),
    '<tool_call>{"city": "Rome"}</tool_call>': ("", []),
}
BARE = {
    "Hello there.": ("Hello there.", []),
    "": ("", []),
    BARE_ROME: ("", [ROME]),
    f"\n{BARE_ROME} ": ("", [ROME]),
    f"{BARE_ROME}; {BARE_OSLO}": ("", [ROME, OSLO]),
    f"{BARE_ROME} It is sunny.": ("", [ROME]),
    f"Here: {BARE_ROME}": (f"Here: {BARE_ROME}", []),
    '{"city": "Rome"} is JSON.': ('{"city": "Rome"} is JSON.', []),
    '{"name": "get_weather", "parameters": {"ci': (
        "",
        [Call("get_weather", '{"ci', complete=False)],
    ),
    f'{BARE_ROME}; {{"name": "clock", "para': ("", [ROME, Call("clock", "", complete=False)]),
    '{"na': ("", []),
    "{ braces }": ("{ braces }", []),
}
EXAMPLES = [
    *((TaggedCalls, text, *expected) for text, expected in TAGGED.items()),
    *((BareCalls, text, *expected) for text, expected in BARE.items()),
]


def read(finder: Recogniser, pieces: list[str]) -> tuple[str, list[Call]]:
    words = "".join(finder.feed(piece) for piece in pieces)
    return words + finder.end(), finder.calls


@pytest.mark.parametrize(("form", "text", "words", "calls"), EXAMPLES)
def test_calls_are_found_however_the_text_is_cut(
    form: Callable[[], Recogniser], text: str, words: str, calls: list[Call]
) -> None:
    assert read(form(), [text]) == (words, calls)
    assert read(form(), [*text]) == (words, calls)
    for cut in range(len(text)):
        assert read(form(), [text[:cut], text[cut:]]) == (words, calls)


@given(st.lists(st.sampled_from([*"<tool_call>{}", "<tool_call>", " ", "\n", "a", '"name"'])))
def test_text_without_a_whole_tag_is_all_words(pieces: list[str]) -> None:
    text = "".join(pieces)
    words, calls = read(TaggedCalls(), pieces)
    if "<tool_call>" not in text:
        assert (words, calls) == (text, [])
    else:
        assert "<tool_call>" not in words


def test_words_come_as_soon_as_they_are_certain() -> None:
    finder = TaggedCalls()
    assert finder.feed("It is") == "It is"
    assert finder.feed(" <b>") == " <b>"
    assert finder.feed(" now <to") == " now"
    assert finder.feed("ol_call>") == ""


def test_a_call_is_known_before_its_tag_is_closed() -> None:
    finder = TaggedCalls()
    finder.feed('<tool_call>{"name": "clock", "arguments": {}}')
    assert finder.calls == [Call("clock", "{}")]


def test_the_template_tells_the_form() -> None:
    llama = (
        """{{ '{"name": "' + call.name + '", ' + '"parameters": ' + (call.arguments | tojson) }}}"""
    )
    assert recogniser("{{ '<tool_call>' }}") is TaggedCalls
    assert recogniser(llama) is BareCalls
    assert recogniser("{{ messages[0].content }}") is None
