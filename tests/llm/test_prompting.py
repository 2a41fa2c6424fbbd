"""How a conversation's items become the messages that a model is given."""

import pytest

from shared.messages import (
    AnyItem,
    FunctionCall,
    FunctionOutput,
    Item,
    LlmJob,
    Part,
    SessionConfig,
)
from shared.settings import Settings
from workers.llm.engines import Call, Message
from workers.llm.prompting import language_of, messages_of, prompt_for


def asked(text: str) -> Item:
    return Item.of("q", "user", text)


def called(call_id: str, arguments: str = "{}") -> FunctionCall:
    return FunctionCall(item_id=f"i{call_id}", call_id=call_id, name="look", arguments=arguments)


def returned(call_id: str, output: str = "fog") -> FunctionOutput:
    return FunctionOutput(item_id=f"o{call_id}", call_id=call_id, output=output)


def calls(*ids: str, said: str = "") -> Message:
    return Message("assistant", said, calls=tuple(Call("look", "{}", call_id=i) for i in ids))


def output(call_id: str, content: str = "fog") -> Message:
    return Message("tool", content, name="look", call_id=call_id)


def test_messages_keep_their_order_and_roles() -> None:
    items: list[AnyItem] = [
        Item.of("s", "system", "Be kind."),
        asked("Hi."),
        Item.of("a", "assistant", "Hello."),
    ]
    assert messages_of(items) == [
        Message("system", "Be kind."),
        Message("user", "Hi."),
        Message("assistant", "Hello."),
    ]


def test_parts_are_lines() -> None:
    item = Item(item_id="i", role="user", parts=[Part(text="One."), Part(text="Two.")])
    assert messages_of([item]) == [Message("user", "One.\nTwo.")]


def test_what_has_no_words_yet_is_left_out() -> None:
    heard = Item(item_id="i", role="user", parts=[Part(text="And"), Part(modality="audio")])
    silent = Item.of("a", "assistant", status="in_progress")
    assert messages_of([asked("Hi."), heard, silent]) == [Message("user", "Hi.")]


def test_a_call_comes_with_its_output() -> None:
    items: list[AnyItem] = [asked("Look."), called("1"), returned("1"), asked("Well?")]
    assert messages_of(items) == [
        Message("user", "Look."),
        calls("1"),
        output("1"),
        Message("user", "Well?"),
    ]


def test_calls_made_together_are_one_message() -> None:
    items: list[AnyItem] = [called("1"), called("2"), returned("2", "sun"), returned("1")]
    assert messages_of(items) == [calls("2", "1"), output("2", "sun"), output("1")]


def test_what_was_said_before_a_call_goes_with_it() -> None:
    items: list[AnyItem] = [
        asked("Look."),
        Item.of("a", "assistant", "I look."),
        called("1"),
        returned("1"),
    ]
    assert messages_of(items) == [
        Message("user", "Look."),
        calls("1", said="I look."),
        output("1"),
    ]


def test_a_late_output_comes_where_it_came() -> None:
    items: list[AnyItem] = [
        called("1"),
        asked("And?"),
        Item.of("a", "assistant", "Wait."),
        returned("1"),
    ]
    assert messages_of(items) == [
        Message("user", "And?"),
        calls("1", said="Wait."),
        output("1"),
    ]


def test_a_call_without_output_and_an_output_without_call_are_left_out() -> None:
    items: list[AnyItem] = [called("1"), asked("Look."), returned("2"), returned("3"), called("4")]
    assert messages_of(items) == [Message("user", "Look.")]


def test_one_output_is_enough() -> None:
    assert messages_of([called("1"), returned("1"), returned("1", "sun")]) == [
        calls("1"),
        output("1"),
    ]


def test_a_call_that_was_cut_is_left_out() -> None:
    assert messages_of([called("1", '{"wher'), returned("1")]) == []


def test_an_output_may_be_empty() -> None:
    assert messages_of([called("1"), returned("1", "")]) == [calls("1"), output("1", "")]


def spoken(language: str | None) -> Item:
    return Item.of("q", "user", modality="audio").transcribed("Bonjour.", language)


@pytest.mark.parametrize(
    ("fixed", "heard", "answered"),
    [
        (None, [], None),
        (None, [None], None),
        (None, ["fr"], "fr"),
        (None, ["fr", "en"], "en"),
        (None, ["fr", None], "fr"),
        ("es", ["fr"], "es"),
        ("es", [], "es"),
    ],
)
def test_an_answer_is_in_the_language_spoken_last_unless_one_is_fixed(
    fixed: str | None, heard: list[str | None], answered: str | None
) -> None:
    assert language_of(SessionConfig(language=fixed), [*map(spoken, heard)]) == answered


@pytest.mark.parametrize(
    ("instructions", "language", "told"),
    [
        ("Be kind.", None, ["Be kind."]),
        ("Be kind.", "fr", ["Be kind.\nAnswer in French."]),
        ("", "yue", ["Answer in Cantonese."]),
        ("Be kind.", "xx", ["Be kind."]),
        ("", None, []),
    ],
)
def test_the_model_is_told_the_language(
    instructions: str, language: str | None, told: list[str]
) -> None:
    job = LlmJob(session_id="s", response_id="r", item_id="i")
    config = SessionConfig(instructions=instructions)
    prompt = prompt_for(job, config, Settings(), [], "", language)
    assert prompt.messages == [Message("system", text) for text in told]
