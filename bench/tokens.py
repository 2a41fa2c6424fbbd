"""Measures the language model: tokens a second, and how long an answer takes to begin.

    python -m bench.tokens
    python -m bench.tokens --requests 1 --requests 4 --tokens 48 --json tokens.json

has long stories told by the engine that the settings name, in this process, so many at once. It has
read what it is asked before, and has as many slots as there are questions at most. Then it is asked
what people ask, one question after the other: when can speech begin? Then sessions that bring long
instructions of their own ask twice, of which some are read ahead: is a first answer as fast as a
second? Engines are compared by running it with `PARLEY_LLM_ENGINE` set.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from bench import questions
from shared.settings import settings
from workers.llm.engines import Completion, Delta, LlmEngine, Message, Prompt, create
from workers.llm.splitter import Splitter

_SUBJECTS = ("a ship", "a king", "two brothers", "the moon", "an old tree", "a lost letter")

# Of how many tokens an answer may be where only its beginning is looked at.
_BEGINNING = 32
# The machine does other things, too: of so many rounds, the median is told.
_ROUNDS = 3
_OWN = (
    " You show visitors around a harbour town. You know its lighthouse, its fish market, the ferry"
    " to the islands and every café on the quay. You are polite and cheerful, you never invent"
    " opening hours or prices, and you send whoever asks for them to the office by the town hall."
    " You answer in one or two short sentences, in plain words that can be spoken aloud, without"
    " lists and without symbols. If you do not know something, you say so and offer to ask."
)

console = Console()


class Told(msgspec.Struct, frozen=True):
    """One answer: how long its first step, its first segment and all of it took; its tokens, and
    how many steps its first segment has."""

    first_s: float
    segment_s: float
    whole_s: float
    tokens: int
    segment_steps: int


class Session(msgspec.Struct, frozen=True):
    """The first two answers of a session with instructions of its own."""

    first: Told
    second: Told


class Measured(msgspec.Struct, kw_only=True):
    """An engine; its answers by how many were given at once, to what people ask one by one, and to
    sessions whose instructions were `read_ahead` and to others."""

    engine: str
    answers: dict[int, list[Told]]
    asked: list[Told]
    read_ahead: list[Session]
    unread: list[Session]

    @property
    def beginnings(self) -> dict[str, list[Told]]:
        """The answers of which the beginning is told, by what they are."""
        return {
            "what people ask": self.asked,
            "a session's first, read ahead": [of.first for of in self.read_ahead],
            "its second": [of.second for of in self.read_ahead],
            "a session's first, not read": [of.first for of in self.unread],
            "the second of that": [of.second for of in self.unread],
        }


def tokens_per_s(answers: Sequence[Told]) -> float:
    """Of answers that were given at once, together."""
    return sum(answer.tokens for answer in answers) / max(answer.whole_s for answer in answers)


async def tell(engine: LlmEngine, prompt: Prompt) -> tuple[Told, str]:
    """Has one prompt answered."""
    asked_s = time.monotonic()
    splitter = Splitter()
    text, steps, first_s, segment = "", 0, 0.0, None
    async for step in engine.stream(prompt):
        now_s = time.monotonic() - asked_s
        first_s = first_s or now_s
        if isinstance(step, Delta):
            text += step.text
            steps += 1
            if any(piece.complete for piece in splitter.feed(step.text)):
                segment = segment or (now_s, steps)
        elif isinstance(step, Completion):
            segment_s, segment_steps = segment or (now_s, steps)
            return Told(first_s, segment_s, now_s, step.completion_tokens, segment_steps), text
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
    return [told for told, _ in await asyncio.gather(*(tell(engine, asked) for asked in prompts))]


async def session(engine: LlmEngine, number: int, *, read_ahead: bool) -> Session:
    """Has a session ask twice that nobody knows yet."""
    messages = [Message("system", f"Your name is Robin {number}.{_OWN}")]
    if read_ahead and engine.read_ahead is not None:
        await engine.read_ahead(Prompt(messages))
    told = []
    for question in ("Is there a market in this town?", "Where do the ships go from here?"):
        messages = [*messages, Message("user", question)]
        answer, text = await tell(engine, Prompt(messages, max_tokens=_BEGINNING, temperature=0.0))
        messages = [*messages, Message("assistant", text)]
        told.append(answer)
    return Session(*told)


def row(answers: Sequence[Told], alone: Sequence[Told]) -> tuple[str, ...]:
    """What a table tells of answers that were given at once, and of one that was `alone`."""
    tokens = sum(answer.tokens for answer in answers)
    firsts_s = [answer.first_s for answer in answers]
    return (
        str(len(answers)),
        str(tokens),
        f"{tokens_per_s(answers):.1f}",
        f"{tokens_per_s(answers) / tokens_per_s(alone):.2f}",
        f"{mean(answer.tokens / answer.whole_s for answer in answers):.1f}",
        f"{mean(firsts_s) * 1000:.0f}",
        f"{max(firsts_s) * 1000:.0f}",
    )


def main(
    requests: Annotated[list[int] | None, typer.Option(help="Questions at once.")] = None,
    tokens: Annotated[int, typer.Option(help="Tokens of an answer, at most.")] = 64,
    json: Annotated[Path | None, typer.Option(help="Where the result goes, as JSON.")] = None,
) -> None:
    counts = requests or [1, 4, 16]
    config = settings().model_copy(update={"llm_slots": max(counts)})
    engine = create(config)
    engine.load()
    try:
        measured = asyncio.run(_measure(engine, config.instructions, counts, tokens))
    finally:
        engine.close()
    _show(measured)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=2))


def _show(measured: Measured) -> None:
    together = Table(title=measured.engine)
    for column in (
        "requests",
        "tokens",
        "tokens/s",
        "of fewest",
        "each",
        "first ms",
        "worst first",
    ):
        together.add_column(column, justify="right")
    fewest = measured.answers[min(measured.answers)]
    for answers in measured.answers.values():
        together.add_row(*row(answers, fewest))
    begun = Table(title="until an answer begins, medians")
    for column in ("", "answers", "first ms", "segment ms", "tokens of it"):
        begun.add_column(column, justify="right" if column else "left")
    for name, told in measured.beginnings.items():
        begun.add_row(name, *begun_row(told))
    console.print(together, begun)


def begun_row(answers: Sequence[Told]) -> tuple[str, ...]:
    """What a table tells of how answers begin."""
    return (
        str(len(answers)),
        f"{1000 * median(answer.first_s for answer in answers):.0f}",
        f"{1000 * median(answer.segment_s for answer in answers):.0f}",
        f"{median(answer.segment_steps for answer in answers):g}",
    )


async def _measure(
    engine: LlmEngine, instructions: str, counts: Sequence[int], tokens: int
) -> Measured:
    await at_once(engine, instructions, max(counts), 1)
    rounds: dict[int, list[list[Told]]] = {count: [] for count in counts}
    for _ in range(_ROUNDS):
        for count, answers in rounds.items():
            answers.append(await at_once(engine, instructions, count, tokens))
    asked = [
        Prompt(
            [Message("system", instructions), Message("user", question.ask)],
            max_tokens=_BEGINNING,
            temperature=0.0,
        )
        for question in questions.read()
    ]
    numbers = range(2 * _ROUNDS)
    return Measured(
        engine=f"{engine.name}: {engine.model}",
        answers={
            count: sorted(answers, key=tokens_per_s)[_ROUNDS // 2]
            for count, answers in rounds.items()
        },
        asked=[(await tell(engine, prompt))[0] for prompt in asked],
        read_ahead=[await session(engine, n, read_ahead=True) for n in numbers[::2]],
        unread=[await session(engine, n, read_ahead=False) for n in numbers[1::2]],
    )


if __name__ == "__main__":
    typer.run(main)
