"""What every LLM engine does, with real models."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from shared.messages import Truncation
from shared.registry import CannotStart
from tests.engines.asking import INSTRUCTIONS, answer, ask, long_conversation
from tests.engines.cases import Case, cases, prepared
from tests.engines.conftest import at_once, close_at_work
from workers.llm.engines import Delta, LlmEngine, Message, Prompt, PromptError, create


@pytest.fixture(scope="module", params=cases("llm"))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlmEngine]:
    folder = tmp_path_factory.mktemp("llm")
    with prepared("llm", request.param, folder, llm_slots=2) as settings:
        loaded = create(settings)
        loaded.load()
        yield loaded
        loaded.close()


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


async def test_together_is_as_alone(engine: LlmEngine) -> None:
    prompts = [ask(f"What color is {thing}?", max_tokens=8) for thing in ("the sky", "grass")]
    alone = [(await answer(engine, prompt))[0] for prompt in prompts]
    together = await asyncio.gather(*(answer(engine, prompt) for prompt in prompts))
    assert [text for text, _ in together] == alone


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


async def test_a_cancelled_task_leaves_its_slot_to_others(engine: LlmEngine) -> None:
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in engine.stream(ask("Tell me a long story.", max_tokens=200)):
            begun.set()

    listeners = [asyncio.create_task(listen()) for _ in range(2 * engine.slots)]
    await begun.wait()
    for listener in listeners:
        listener.cancel()
    ends = await asyncio.gather(*listeners, return_exceptions=True)
    assert any(isinstance(end, asyncio.CancelledError) for end in ends)
    text, _ = await answer(engine, ask("What color is the sky?"))
    assert text


async def test_it_goes_on_after_what_was_said(engine: LlmEngine) -> None:
    said = "You said: Count to ten."
    text, _ = await answer(engine, ask("Count to ten.", prefix=said))
    assert not text.startswith("You said")
    assert text


@pytest.mark.parametrize("case", cases("llm", loads=True))
async def test_a_long_conversation_loses_its_oldest_turns_or_is_refused(
    case: Case, tmp_path: Path
) -> None:
    with prepared("llm", case, tmp_path, llm_slots=1, llm_context_tokens=256) as settings:
        engine = create(settings)
        await asyncio.to_thread(engine.load)
        _, completion = await answer(engine, Prompt(long_conversation(), max_tokens=8))
        assert 32 < completion.prompt_tokens <= 256 - 8
        whole = Prompt(long_conversation(), truncation=Truncation(retain=None))
        with pytest.raises(PromptError, match="messages: the conversation is too long"):
            await answer(engine, whole)
        with pytest.raises(PromptError, match="messages: "):
            await answer(engine, ask("word " * 400))
        await asyncio.to_thread(engine.close)


@pytest.mark.parametrize("case", cases("llm", loads=True))
def test_it_works_between_load_and_close(case: Case, tmp_path: Path) -> None:
    with prepared("llm", case, tmp_path, llm_slots=1) as settings:
        engine = create(settings)

        def talk() -> None:
            asyncio.run(answer(engine, ask("Tell me a long story.", max_tokens=30)))

        with pytest.raises(RuntimeError, match=f"{engine.name} engine is not loaded"):
            talk()
        engine.load()
        for why in close_at_work(talk, engine.close):
            assert re.search(f"{engine.name} engine (is not loaded|was closed)", why)
        with pytest.raises(RuntimeError, match=f"{engine.name} engine is not loaded"):
            talk()


@pytest.mark.parametrize("case", cases("llm", loads=True))
def test_a_model_that_is_missing_is_named(case: Case, tmp_path: Path) -> None:
    with prepared("llm", case, tmp_path, llm_model="no-such-model") as settings:
        engine = create(settings)
        with pytest.raises(CannotStart, match="'no-such-model'"):
            engine.load()
