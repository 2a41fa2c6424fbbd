"""What every LLM engine does, with a real model."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.messages import Truncation
from shared.settings import Settings
from tests.engines.conftest import at_once
from workers.llm.engines import (
    Completion,
    Delta,
    LlmEngine,
    Message,
    Prompt,
    PromptError,
    create,
    decoding,
)

INSTRUCTIONS = Message("system", "You are a helpful voice assistant.")


@pytest.fixture(scope="module", params=["llama", "instant", "paced"])
def engine(request: pytest.FixtureRequest) -> Iterator[LlmEngine]:
    started = create(Settings(llm_engine=request.param, llm_slots=2))
    started.load()
    yield started
    started.close()


@pytest.fixture(scope="module")
def narrow() -> Iterator[LlmEngine]:
    """One conversation at a time, of 256 tokens."""
    started = create(Settings(llm_engine="llama", llm_slots=1, llm_context_tokens=256))
    started.load()
    yield started
    started.close()


def ask(question: str, **options: Any) -> Prompt:
    options = {"max_tokens": 16, "temperature": 0.0, **options}
    return Prompt([INSTRUCTIONS, Message("user", question)], **options)


async def answer(engine: LlmEngine, prompt: Prompt) -> tuple[str, Completion]:
    items = [item async for item in engine.stream(prompt)]
    *deltas, completion = items
    assert isinstance(completion, Completion)
    assert all(isinstance(delta, Delta) and delta.text for delta in deltas)
    return "".join(delta.text for delta in deltas if isinstance(delta, Delta)), completion


async def test_an_answer_is_deltas_and_a_completion(engine: LlmEngine) -> None:
    text, completion = await answer(engine, ask("What is the capital of France?", max_tokens=64))
    assert "France" in text
    assert completion.finish == "stop"
    assert completion.prompt_tokens > 0
    assert 0 < completion.completion_tokens <= 64


@pytest.mark.parametrize("messages", [[], [INSTRUCTIONS], [Message("user", "")]])
async def test_nothing_asked_is_no_error(engine: LlmEngine, messages: list[Message]) -> None:
    _, completion = await answer(engine, Prompt(messages, max_tokens=4))
    assert completion.completion_tokens <= 4


async def test_an_answer_that_is_cut_says_so(engine: LlmEngine) -> None:
    _, completion = await answer(engine, ask("Tell me a long story.", max_tokens=5))
    assert completion.finish == "length"
    assert completion.completion_tokens == 5


async def test_the_same_again_without_chance(engine: LlmEngine) -> None:
    prompt = ask("What color is the sky?")
    assert (await answer(engine, prompt))[0] == (await answer(engine, prompt))[0]


async def test_more_prompts_than_slots_are_all_answered(engine: LlmEngine) -> None:
    prompts = [ask(f"What is {n} plus {n}?") for n in range(3 * engine.slots)]
    answers = await asyncio.gather(*(answer(engine, prompt) for prompt in prompts))
    assert all(text for text, _ in answers)


def test_two_threads_at_once(engine: LlmEngine) -> None:
    prompts = [ask("What color is the sky?"), ask("What color is grass?")]
    answers = at_once(lambda prompt: asyncio.run(answer(engine, prompt)), prompts)
    assert all(text for text, _ in answers)


async def test_a_closed_stream_leaves_its_slot_to_others(engine: LlmEngine) -> None:
    for _ in range(2 * engine.slots):
        async with aclosing(engine.stream(ask("Tell me a long story.", max_tokens=200))) as stream:
            assert isinstance(await anext(stream), Delta)
    text, _ = await answer(engine, ask("What color is the sky?"))
    assert text


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_decoding_stops_within_a_step(
    narrow: LlmEngine, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: Counter[int] = Counter()
    take = decoding.Decoding._take

    def counted(one: decoding.Decoding, chunk: dict[str, Any], longest: int) -> None:
        steps[id(one)] += 1
        take(one, chunk, longest)

    monkeypatch.setattr(decoding.Decoding, "_take", counted)
    begun = asyncio.Event()

    async def listen() -> None:
        async with aclosing(narrow.stream(ask("Tell me a story.", max_tokens=200))) as stream:
            await anext(stream)
            begun.set()
            if how == "cancelled":
                await asyncio.Event().wait()

    listener = asyncio.create_task(listen())
    await begun.wait()
    if how == "cancelled":
        listener.cancel()
    await asyncio.wait([listener])
    (stopped_at,) = steps.values()
    # There is one slot: when the next answer is complete, the first was over long ago.
    await answer(narrow, ask("What color is the sky?"))
    assert len(steps) == 2
    assert next(iter(steps.values())) <= stopped_at + 1


async def test_it_goes_on_after_what_was_said(engine: LlmEngine) -> None:
    said = "You said: Count to ten."
    text, _ = await answer(engine, ask("Count to ten.", prefix=said))
    assert not text.startswith("You said")
    assert text


async def test_llama_goes_on_in_the_middle_of_a_sentence(narrow: LlmEngine) -> None:
    text, _ = await answer(narrow, ask("Count to ten.", prefix="One, two, three,"))
    assert text.startswith(" four")
    # A prefix may end with the space that the next word would begin with.
    text, _ = await answer(narrow, ask("Count to ten.", prefix="One, two, three, "))
    assert text.startswith("four")


def long_conversation() -> list[Message]:
    history = [
        message
        for number in range(40)
        for message in (
            Message("user", f"Tell me fact number {number} about animals."),
            Message("assistant", f"Fact number {number} is that animals like to eat and sleep."),
        )
    ]
    return [INSTRUCTIONS, *history, Message("user", "What is the capital of France?")]


@pytest.mark.parametrize(
    ("truncation", "most"),
    [
        (Truncation(), 256 - 32),
        (Truncation(retain=0.5), 128 - 16),
        (Truncation(tokens=100), 100 + 20),
        (Truncation(retain=0.8, tokens=100), 96),
    ],
)
async def test_the_oldest_turns_go_when_the_context_is_full(
    narrow: LlmEngine, truncation: Truncation, most: int
) -> None:
    prompt = Prompt(long_conversation(), max_tokens=32, temperature=0.0, truncation=truncation)
    _, completion = await answer(narrow, prompt)
    assert completion.finish == "stop"
    assert 32 < completion.prompt_tokens <= most


async def test_a_conversation_that_must_stay_whole_is_refused(narrow: LlmEngine) -> None:
    prompt = Prompt(long_conversation(), truncation=Truncation(retain=None))
    with pytest.raises(PromptError, match="messages: the conversation is too long"):
        await answer(narrow, prompt)
    short = ask("What is the capital of France?", truncation=Truncation(retain=None))
    assert (await answer(narrow, short))[0]
    tight = ask("word " * 60, truncation=Truncation(retain=None, tokens=50))
    with pytest.raises(PromptError, match=r"where \d+ fit"):
        await answer(narrow, tight)


async def test_a_question_that_does_not_fit_is_refused(narrow: LlmEngine) -> None:
    with pytest.raises(ValueError, match=r"messages: .*256 tokens"):
        await answer(narrow, ask("word " * 400))
    text, _ = await answer(narrow, ask("What color is the sky?"))
    assert text


def test_llama_listens_on_nothing_that_others_reach() -> None:
    process = psutil.Process()
    before = process.net_connections("all")
    engine = create(Settings(llm_engine="llama", llm_slots=1))
    engine.load()
    opened = [c for c in process.net_connections("all") if c not in before]
    engine.close()
    assert not [c.laddr for c in opened if c.status == psutil.CONN_LISTEN]
    (socket,) = [str(c.laddr) for c in opened if str(c.laddr).endswith("/llama.sock")]
    assert not Path(socket).parent.exists()


async def test_close_ends_what_is_being_said() -> None:
    engine = create(Settings(llm_engine="llama", llm_slots=1))
    engine.load()
    stream = engine.stream(ask("Tell me a long story.", max_tokens=1000))
    assert isinstance(await anext(stream), Delta)
    await asyncio.to_thread(engine.close)
    with pytest.raises(RuntimeError, match="llama engine was closed"):
        async for _ in stream:
            pass
    with pytest.raises(RuntimeError, match="llama engine is not loaded"):
        await anext(engine.stream(ask("Hello?")))


@pytest.mark.parametrize("name", ["instant", "paced"])
async def test_instant_repeats_the_question_exactly_from_the_prefix_on(name: str) -> None:
    engine = create(Settings(llm_engine=name, paced_token_ms=0))
    whole = "You said: hello there. That is all I know about it."
    for cut in range(len(whole) + 1):
        text, _ = await answer(engine, ask("hello there", prefix=whole[:cut]))
        assert whole[:cut] + text == whole


async def test_what_was_read_for_an_earlier_answer_is_told(narrow: LlmEngine) -> None:
    await answer(narrow, ask("What color is the sky?"))
    _, completion = await answer(narrow, ask("What color is the sky?"))
    assert 0 < completion.cached_tokens < completion.prompt_tokens
