"""How Transformers' continuous batching answers: who joins and leaves the batch, and what then."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from shared.settings import Settings
from tests.engines.asking import answer, ask
from tests.engines.smollm2 import checkpoint
from tests.stages import until
from workers.llm.engines import Delta, Message, Prompt, create

pytestmark = [pytest.mark.torch_engine, pytest.mark.timeout(300)]

THINGS = ["the sky", "grass", "snow", "coal", "blood", "gold", "a lemon", "the sea"]


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Any]]:
    """Starts engines with settings, each once."""
    engines: dict[tuple[tuple[str, Any], ...], Any] = {}

    def started(**settings: Any) -> Any:
        key = tuple(sorted(settings.items()))
        if key not in engines:
            named = {"llm_engine": "transformers", "llm_model": checkpoint(), **settings}
            engine = create(Settings.model_validate(named))
            engine.load()
            engines[key] = engine
        return engines[key]

    yield started
    for engine in engines.values():
        engine.close()


def manager(engine: Any) -> Any:
    """The library's part of an engine, for what only it can tell: the number of its steps."""
    return engine._loaded.batch._manager


def requests(engine: Any) -> Any:
    """The requests that an engine has in its batch, or waiting to be."""
    return engine._loaded.batch._requests


async def test_sixteen_requests_join_and_leave_a_running_batch(start: Callable[..., Any]) -> None:
    engine = start(llm_slots=6)
    prompts = [
        ask(f"What color is {thing}?", max_tokens=most) for most in (6, 3) for thing in THINGS
    ]
    alone = [(await answer(engine, prompt))[0] for prompt in prompts[: len(THINGS)]]
    begun = [asyncio.Event() for _ in prompts]
    shared_steps = manager(engine).current_batch

    async def told(number: int) -> str:
        if number:
            await begun[number - 1].wait()  # each joins while the one before is being answered
        words = ""
        async for step in engine.stream(prompts[number]):
            begun[number].set()
            words += step.text if isinstance(step, Delta) else ""
        return words

    async def given_up(number: int) -> None:
        await begun[number].wait()
        async with aclosing(engine.stream(ask("Tell me a story.", max_tokens=99))) as stream:
            await anext(stream)

    together = await asyncio.gather(
        *map(told, range(len(prompts))), *(given_up(number) for number in (2, 6, 11))
    )
    assert list(together[: len(THINGS)]) == alone
    for whole, cut in zip(alone, together[len(THINGS) : len(prompts)], strict=True):
        assert cut
        assert whole.startswith(cut)
    shared_steps = manager(engine).current_batch - shared_steps
    assert shared_steps < sum(prompt.max_tokens for prompt in prompts)


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_who_leaves_frees_the_slot_within_one_step(
    start: Callable[..., Any], how: str
) -> None:
    engine = start(llm_slots=1)
    begun = asyncio.Event()

    async def listen() -> None:
        async with aclosing(engine.stream(ask("Tell me a story.", max_tokens=99))) as stream:
            await anext(stream)
            begun.set()
            if how == "cancelled":
                await asyncio.Event().wait()

    listener = asyncio.create_task(listen())
    await begun.wait()
    if how == "cancelled":
        listener.cancel()
    await asyncio.wait([listener])
    left_at = manager(engine).current_batch
    await answer(engine, ask("What color is the sky?", max_tokens=1))
    # The step that ran may have been over before it was counted; the answer takes one.
    assert manager(engine).current_batch <= left_at + 2


async def test_who_waits_for_a_slot_can_leave(start: Callable[..., Any]) -> None:
    engine = start(llm_slots=1)
    async with aclosing(engine.stream(ask("Tell me a story.", max_tokens=99))) as stream:
        await anext(stream)
        waiting = asyncio.create_task(answer(engine, ask("And who am I?")))
        await until(lambda: len(requests(engine)) == 2)
        waiting.cancel()
        await asyncio.wait([waiting])
        await anext(stream)
    assert not requests(engine)
    assert (await answer(engine, ask("What color is the sky?")))[0]


async def test_chance_in_one_answer_leaves_another_alone(start: Callable[..., Any]) -> None:
    engine = start(llm_slots=6)
    prompt = ask("What color is the sky?", max_tokens=8)
    alone, _ = await answer(engine, prompt)
    wild = [ask("Name an animal.", max_tokens=8, temperature=3.0) for _ in range(4)]
    (cold, _), *hot = await asyncio.gather(*(answer(engine, one) for one in (prompt, *wild)))
    assert cold == alone
    assert len({words for words, _ in hot}) > 1


async def test_what_was_read_for_an_earlier_answer_is_told(start: Callable[..., Any]) -> None:
    engine = start(llm_slots=6)
    await answer(engine, ask("What is as red as a rose?", max_tokens=1))
    _, completion = await answer(engine, ask("What is as red as a rose?", max_tokens=1))
    assert 16 <= completion.cached_tokens < completion.prompt_tokens
    _, completion = await answer(engine, Prompt([Message("user", "Hi.")], max_tokens=1))
    assert completion.cached_tokens == 0


async def test_an_error_in_the_batch_reaches_everybody_and_the_next_is_answered(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(llm_slots=1)
    model = manager(engine).model
    forward, broken = model.forward, asyncio.Event()

    def fails_later(*args: Any, **kwargs: Any) -> Any:
        if broken.is_set():
            raise RuntimeError("the card fell off the bus")
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", fails_later)
    async with aclosing(engine.stream(ask("Tell me a story.", max_tokens=99))) as running:
        await anext(running)
        waiting = [asyncio.create_task(answer(engine, ask("Who am I?"))) for _ in range(2)]
        await until(lambda: len(requests(engine)) == 3)
        broken.set()
        with pytest.raises(RuntimeError, match="language model failed: the card fell off"):
            async for _ in running:
                pass
        for ended in await asyncio.gather(*waiting, return_exceptions=True):
            assert "the card fell off the bus" in str(ended)
    with pytest.raises(RuntimeError, match="the card fell off"):
        await answer(engine, ask("Hello?"))
    monkeypatch.setattr(model, "forward", forward)
    assert (await answer(engine, ask("What color is the sky?")))[0]


async def test_close_ends_what_is_being_said() -> None:
    engine = create(
        Settings(llm_engine="transformers", llm_model=checkpoint(), llm_slots=1, llm_threads=2)
    )
    await asyncio.to_thread(engine.load)
    library = manager(engine)
    stream = engine.stream(ask("Tell me a long story.", max_tokens=1000))
    assert isinstance(await anext(stream), Delta)
    waiting = asyncio.create_task(answer(engine, ask("Hello?")))
    await until(lambda: len(requests(engine)) == 2)
    await asyncio.to_thread(engine.close)
    with pytest.raises(RuntimeError, match="transformers engine was closed"):
        async for _ in stream:
            pass
    with pytest.raises(RuntimeError, match="transformers engine was closed"):
        await waiting
    with pytest.raises(RuntimeError, match="transformers engine is not loaded"):
        await anext(engine.stream(ask("Hello?")))
    assert not library.is_running()


async def test_it_goes_on_in_the_middle_of_a_sentence(start: Callable[..., Any]) -> None:
    engine = start(llm_slots=6)
    text, _ = await answer(engine, ask("Count to ten.", prefix="One, two, three,", max_tokens=4))
    assert text.startswith(" four")
    # A prefix may end with the space that the next word would begin with.
    text, _ = await answer(engine, ask("Count to ten.", prefix="One, two, three, ", max_tokens=4))
    assert text.startswith("four")
