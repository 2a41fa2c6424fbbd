"""Measures the language model: tokens a second, and how long the first word of an answer takes.

    python -m bench.tokens
    python -m bench.tokens --requests 1 --requests 4 --tokens 48

asks the engine that the settings name, in this process, so many questions at once, each another
one after the same instructions. Engines are compared by running it with `PARLEY_LLM_ENGINE` set.
It has as many slots as there are questions at most.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from shared.settings import settings
from workers.llm.engines import Completion, LlmEngine, Message, Prompt, create

_SUBJECTS = ("a ship", "a king", "two brothers", "the moon", "an old tree", "a lost letter")

console = Console()


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: how long its first step took and all of it, and how many tokens it has."""

    first_s: float
    whole_s: float
    tokens: int


async def tell(engine: LlmEngine, prompt: Prompt) -> Told:
    """Has one prompt answered."""
    asked_s = time.monotonic()
    first_s = 0.0
    async for step in engine.stream(prompt):
        now_s = time.monotonic() - asked_s
        first_s = first_s or now_s
        if isinstance(step, Completion):
            return Told(first_s, now_s, step.completion_tokens)
    raise RuntimeError(f"the {engine.name} engine ended an answer without a completion")


async def at_once(engine: LlmEngine, instructions: str, count: int, tokens: int) -> list[Told]:
    """Has `count` long stories told at once, of at most `tokens` tokens each."""
    prompts = [
        Prompt(
            [
                Message("system", instructions),
                Message("user", f"Tell me long story {number} about {subject}."),
            ],
            max_tokens=tokens,
            temperature=0.0,
        )
        for number, subject in zip(range(count), _SUBJECTS * count, strict=False)
    ]
    return list(await asyncio.gather(*(tell(engine, prompt) for prompt in prompts)))


def row(answers: Sequence[Told]) -> tuple[str, ...]:
    """What a table tells of answers that were given at once."""
    tokens = sum(answer.tokens for answer in answers)
    firsts_s = [answer.first_s for answer in answers]
    return (
        str(len(answers)),
        str(tokens),
        f"{tokens / max(answer.whole_s for answer in answers):.1f}",
        f"{mean(answer.tokens / answer.whole_s for answer in answers):.1f}",
        f"{mean(firsts_s) * 1000:.0f}",
        f"{max(firsts_s) * 1000:.0f}",
    )


def main(
    requests: Annotated[list[int] | None, typer.Option(help="Questions at once.")] = None,
    tokens: Annotated[int, typer.Option(help="Tokens of an answer, at most.")] = 64,
) -> None:
    counts = requests or [1, 4, 16]
    config = settings().model_copy(update={"llm_slots": max(counts)})
    engine = create(config)
    engine.load()
    try:
        table = Table(title=f"{engine.name}: {engine.model}")
        for column in ("requests", "tokens", "tokens/s", "each", "first ms", "worst first ms"):
            table.add_column(column, justify="right")
        for count in counts:
            answers = asyncio.run(at_once(engine, config.instructions, count, tokens))
            table.add_row(*row(answers))
        console.print(table)
    finally:
        engine.close()


if __name__ == "__main__":
    typer.run(main)
