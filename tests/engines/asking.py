"""Questions to an LLM engine, and its answers."""

from typing import Any

from shared.settings import DEFAULT_INSTRUCTIONS
from workers.llm.engines import Completion, Delta, LlmEngine, Message, Prompt

INSTRUCTIONS = Message("system", DEFAULT_INSTRUCTIONS)


def ask(question: str, **options: Any) -> Prompt:
    options = {"max_tokens": 16, "temperature": 0.0, **options}
    return Prompt([INSTRUCTIONS, Message("user", question)], **options)


async def answer(engine: LlmEngine, prompt: Prompt) -> tuple[str, Completion]:
    items = [item async for item in engine.stream(prompt)]
    *deltas, completion = items
    assert isinstance(completion, Completion)
    assert all(isinstance(delta, Delta) and delta.text for delta in deltas)
    return "".join(delta.text for delta in deltas if isinstance(delta, Delta)), completion


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
