"""How llama.cpp answers: where it stops, what it leaves out, what it opens."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.messages import Truncation
from shared.registry import loaded
from shared.settings import Settings
from tests.engines.asking import answer, ask, long_conversation
from workers.llm.engines import (
    Delta,
    LlmEngine,
    Message,
    Prompt,
    PromptError,
    create,
    decoding,
)
from workers.llm.engines.llama import LlamaEngine


@pytest.fixture(scope="module")
def narrow() -> Iterator[LlmEngine]:
    """One conversation at a time, of 256 tokens."""
    started = create(Settings(llm_engine="llama", llm_slots=1, llm_context_tokens=256))
    started.load()
    yield started
    started.close()


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


async def test_llama_goes_on_in_the_middle_of_a_sentence(narrow: LlmEngine) -> None:
    text, _ = await answer(narrow, ask("Count to ten.", prefix="One, two, three,"))
    assert text.startswith(" four")
    # A prefix may end with the space that the next word would begin with.
    text, _ = await answer(narrow, ask("Count to ten.", prefix="One, two, three, "))
    assert text.startswith("four")


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


async def test_what_was_read_for_an_earlier_answer_is_told(narrow: LlmEngine) -> None:
    await answer(narrow, ask("What color is the sky?"))
    _, completion = await answer(narrow, ask("What color is the sky?"))
    assert 0 < completion.cached_tokens < completion.prompt_tokens


async def test_what_was_read_ahead_is_not_read_again(narrow: LlmEngine) -> None:
    told = [Message("system", "You are the keeper of a lighthouse. " * 5)]
    assert narrow.read_ahead is not None
    await narrow.read_ahead(Prompt(told))
    asked = Prompt([*told, Message("user", "Who are you?")], max_tokens=4)
    _, completion = await answer(narrow, asked)
    assert completion.prompt_tokens - completion.cached_tokens < 20


async def test_reading_ahead_that_is_cancelled_leaves_its_slot_free(narrow: LlmEngine) -> None:
    assert narrow.read_ahead is not None
    reading = asyncio.ensure_future(narrow.read_ahead(ask("ships " * 150)))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    words, _ = await answer(narrow, ask("What color is the sky?"))
    assert words


async def test_who_asks_in_the_moment_of_closing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create(Settings(llm_engine="llama", llm_slots=1))
    assert isinstance(engine, LlamaEngine)
    engine.load()
    model, threads = loaded(engine._model, engine.name), loaded(engine._threads, engine.name)
    story = Prompt([Message("user", "Tell me a long story.")], max_tokens=200)
    asked = [decoding.Decoding(model, story)]
    engine._submit(asked[0])
    shutdown = threads.shutdown

    def one_more_before(*, wait: bool = True, cancel_futures: bool = False) -> None:
        if len(asked) == 1:
            asked.append(decoding.Decoding(model, story))
            engine._submit(asked[1])
        shutdown(wait=wait, cancel_futures=cancel_futures)

    monkeypatch.setattr(threads, "shutdown", one_more_before)
    engine.close()
    for one in asked:
        async with asyncio.timeout(60):
            while not isinstance(item := await one.items.get(), Exception):
                pass
        assert str(item) == "the llama engine was closed"
