"""What Transformers' models read and write, as far as no model is needed: templates and tokens."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.messages import NamedTool, Tool, Truncation
from shared.registry import CannotStart
from tests.engines.asking import INSTRUCTIONS, ask, long_conversation
from tests.engines.smollm2 import checkpoint, checkpoint_with
from workers.llm.engines import Call, Delta, Message, Prompt, PromptError

pytestmark = [pytest.mark.torch_engine, pytest.mark.timeout(300)]

CLOCK = Tool(name="clock", description="Tells the time.", parameters='{"type": "object"}')
# As models have it that separate arguments from their text, as objects.
SHOWING = """
{%- for tool in tools or [] %}[{{ tool.function.name }}]{% endfor -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}: {{ message.content }}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' -}}
{{- (call.function.arguments | tojson) + '}</tool_call>' -}}
{%- endfor -%}
<|im_end|>
{%- endfor -%}
"""
LLAMA_3 = """
{%- for message in messages %}{{ message.role + ': ' + message.content }}
{%- for call in message.tool_calls or [] %}
{{- '{"name": "' + call.function.name + '", "parameters": ' }}
{{- (call.function.arguments | tojson) + '}' }}{% endfor %}{% endfor %}
"""
REFUSING = "{% if messages | length > 1 %}{{ raise_exception('one message only') }}{% endif %}Go."


def chat(template: str = "", folder: Path | None = None, context_tokens: int = 256) -> Any:
    from transformers import AutoTokenizer

    from workers.llm.engines.transformers_chat import Chat

    named = checkpoint() if folder is None else checkpoint_with(template, folder)
    tokenizer = AutoTokenizer.from_pretrained(named)
    return Chat("some-model", tokenizer, context_tokens, 49152, [tokenizer.eos_token_id])


def shown(some: Any, prompt: Prompt) -> str:
    """A prompt as the model reads it."""
    tokens, _ = some.read(prompt)
    return str(some._tokenizer.decode(tokens))


def written(some: Any, prompt: Prompt, text: str, cut: bool = False) -> tuple[str, list[Call]]:
    """What comes out where the model writes `text`, token after token."""
    writing = some.writing(prompt)
    tokens = some._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    steps: list[Delta | Call] = []
    for token in tokens:
        steps += writing.feed([token])
    steps += writing.end(cut)
    words = [step.text for step in steps if isinstance(step, Delta)]
    assert all(words)
    return "".join(words), [step for step in steps if isinstance(step, Call)]


def test_a_prompt_ends_where_the_answer_begins() -> None:
    text = shown(chat(), ask("Count to ten.", prefix="One, two, "))
    assert text.startswith(f"<|im_start|>system\n{INSTRUCTIONS.content}<|im_end|>")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\nOne, two,")


@pytest.mark.parametrize(
    ("truncation", "most"),
    [
        (Truncation(), 256 - 32),
        (Truncation(retain=0.5), 128 - 16),
        (Truncation(tokens=100), 100 + 30),
        (Truncation(retain=0.8, tokens=100), 104),
    ],
)
def test_the_oldest_turns_go_when_the_context_is_full(truncation: Truncation, most: int) -> None:
    prompt = Prompt(long_conversation(), max_tokens=32, truncation=truncation)
    tokens, longest = chat().read(prompt)
    assert 32 < len(tokens) <= most
    assert longest == 32


def test_what_does_not_fit_is_refused() -> None:
    some = chat()
    with pytest.raises(PromptError, match=r"messages: the conversation is too long: .* 224 fit"):
        some.read(Prompt(long_conversation(), max_tokens=32, truncation=Truncation(retain=None)))
    with pytest.raises(PromptError, match="messages: the instructions and the last question: "):
        some.read(ask("word " * 400))
    tokens, longest = some.read(ask("word " * 200, max_tokens=256))
    assert longest == 256 - len(tokens)


@pytest.mark.parametrize("messages", [[], [INSTRUCTIONS], [Message("user", "")]])
def test_nothing_asked_is_no_error(messages: list[Message]) -> None:
    tokens, _ = chat().read(Prompt(messages))
    assert tokens


def test_a_template_that_refuses_a_conversation_is_quoted(tmp_path: Path) -> None:
    some = chat(REFUSING, tmp_path)
    with pytest.raises(PromptError, match=r"messages: .* template refuses them: one message only"):
        some.read(ask("Hello?"))
    assert shown(some, Prompt([Message("user", "Hello?")])) == "Go."


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="PARLEY_LLM_MODEL: some-model has no chat template"):
        chat("", tmp_path)


def test_a_character_in_several_tokens_is_whole_or_not_there() -> None:
    some, text = chat(), "Hello 😀, 你好, wörld!"
    assert written(some, ask("?"), text) == (text, [])
    writing = some.writing(ask("?"))
    tokens = some._tokenizer.backend_tokenizer.encode("a😀", add_special_tokens=False).ids
    assert len(tokens) > 2
    words = [delta.text for token in tokens[:-1] for delta in writing.feed([token])]
    assert words == ["a"]
    assert [*writing.end(cut=True)] == []


def test_special_tokens_are_no_words() -> None:
    assert written(chat(), ask("?"), "Yes.<|im_end|>") == ("Yes.", [])


def test_the_space_that_a_prefix_ends_in_is_not_said_twice() -> None:
    some = chat()
    assert written(some, ask("?", prefix="One, "), " two")[0] == "two"
    assert written(some, ask("?", prefix="One,"), " two")[0] == " two"


def test_a_model_that_knows_tools_is_shown_them_and_calls_them(tmp_path: Path) -> None:
    some = chat(SHOWING, tmp_path)
    call = Call("clock", '{"zone": "é"}', call_id="c1")
    history = [
        Message("user", "What time is it?"),
        Message("assistant", "", calls=(call,)),
        Message("tool", "Noon.", name="clock", call_id="c1"),
    ]
    prompt = Prompt(history, tools=(CLOCK,))
    text = shown(some, prompt)
    assert text.startswith("[clock]")
    assert '<tool_call>{"name": "clock", "arguments": {"zone": "é"}}</tool_call>' in text
    calling = 'Let me see. <tool_call>\n{"name": "clock", "arguments": {"zone": "é"}}\n</tool_call>'
    assert written(some, prompt, calling) == ("Let me see.", [Call("clock", '{"zone": "é"}')])
    cut = written(some, prompt, calling.partition('"}')[0], cut=True)
    assert cut == ("Let me see.", [Call("clock", '{"zone": "é', complete=False)])
    # Without tools to call, it is told of neither tools nor calls, and what it writes is words.
    silent = Prompt(history, tools=(CLOCK,), choice="none")
    assert "tool_call" not in shown(some, silent)
    assert "clock returned: Noon." in shown(some, silent)


def test_a_model_in_the_manner_of_llama_3_calls_too(tmp_path: Path) -> None:
    prompt = ask("What time is it?", tools=(CLOCK,))
    calling = '{"name": "clock", "parameters": {"zone": "UTC"}}'
    expected = [Call("clock", '{"zone": "UTC"}')]
    assert written(chat(LLAMA_3, tmp_path), prompt, calling) == ("", expected)


def test_only_one_call_is_made_where_one_is_allowed(tmp_path: Path) -> None:
    some = chat(SHOWING, tmp_path)
    tag = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    several, one = ask("?", tools=(CLOCK,)), ask("?", tools=(CLOCK,), parallel=False)
    assert len(written(some, several, tag * 2)[1]) == 2
    assert len(written(some, one, tag * 2)[1]) == 1
    writing = some.writing(one)
    tokens = some._tokenizer.backend_tokenizer.encode(tag, add_special_tokens=False).ids
    assert [*writing.feed(tokens)] == []
    assert writing.over


def test_a_model_whose_template_knows_no_tools_is_shown_none() -> None:
    some, prompt = chat(), ask("What time is it?", tools=(CLOCK,))
    assert "clock" not in shown(some, prompt)
    text = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    assert written(some, prompt, text) == (text, [])


def test_a_guide_leaves_only_the_forced_call() -> None:
    import torch
    from llguidance.torch import allocate_token_bitmask

    some = chat()
    schema = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    light = Tool(name="light", parameters=json.dumps(schema))
    guide = some.guide(ask("?", tools=(CLOCK, light), choice=NamedTool("light")))
    wanted = '<tool_call>{"name": "light", "arguments": {"on": true}}</tool_call>'
    tokens = some._tokenizer.backend_tokenizer.encode(wanted, add_special_tokens=False).ids
    masks = allocate_token_bitmask(2, 49152)
    for count in range(len(tokens) + 1):
        guide.mask(tokens[:count], masks, 1)
        allowed = (masks[1].unsqueeze(-1) >> torch.arange(32) & 1).view(-1).nonzero().flatten()
        following = tokens[count] if count < len(tokens) else some._tokenizer.eos_token_id
        assert following in allowed
        assert len(allowed) < 49152 / 2
    assert (masks[0] == -1).all()
