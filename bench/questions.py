"""Asks the language model everyday questions and counts the right answers.

    python -m bench.questions

asks what `questions.toml` has with the instructions and the sampling that a session has by
default, or with others given on the command line.
"""

import asyncio
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from shared.settings import settings
from workers.llm.engines import Delta, LlmEngine, Message, Prompt, create

_QUESTIONS = Path(__file__).with_name("questions.toml")
_MAX_TOKENS = 60

console = Console()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked and the phrases one of which a right answer has, in lower case."""

    ask: str
    accept: tuple[str, ...]

    def accepts(self, answer: str) -> bool:
        """Whether one of the phrases is in the answer, word for word."""
        return any(f" {_words(phrase)} " in f" {_words(answer)} " for phrase in self.accept)


def _words(text: str) -> str:
    return " ".join(re.sub(r"[\W_]", " ", text.lower()).split())


def read(path: Path = _QUESTIONS) -> list[Question]:
    """The questions of a TOML file: tables `question` with `ask` and `accept`."""
    entries = tomllib.loads(path.read_text("utf-8"))["question"]
    return [Question(entry["ask"], tuple(entry["accept"])) for entry in entries]


async def answer(
    engine: LlmEngine, question: str, instructions: str, temperature: float | None
) -> str:
    """The engine's answer, spoken to for the first time."""
    messages = [Message("system", instructions), Message("user", question)]
    prompt = Prompt(messages, max_tokens=_MAX_TOKENS, temperature=temperature)
    return "".join([step.text async for step in engine.stream(prompt) if isinstance(step, Delta)])


async def _answers(
    engine: LlmEngine, questions: list[Question], instructions: str, temperature: float | None
) -> list[str]:
    asked = (answer(engine, q.ask, instructions, temperature) for q in questions)
    return await asyncio.gather(*asked)


def main(
    instructions: Annotated[
        str, typer.Option(help="Instructions instead of the default ones.")
    ] = settings().instructions,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature instead of the engine's own.")
    ] = None,
    questions_file: Annotated[
        Path, typer.Option("--questions", help="Other questions, in the same form.")
    ] = _QUESTIONS,
) -> None:
    """Asks the questions of `questions.toml` and prints the answers and the score."""
    questions = read(questions_file)
    engine = create(settings())
    engine.load()
    answers = asyncio.run(_answers(engine, questions, instructions, temperature))
    engine.close()
    table = Table("", "question", "answer", title=f"{engine.model}: {instructions}")
    for question, said in zip(questions, answers, strict=True):
        mark = "[green]✓[/]" if question.accepts(said) else "[red]✗[/]"
        table.add_row(mark, question.ask, said.strip())
    right = sum(q.accepts(said) for q, said in zip(questions, answers, strict=True))
    console.print(table)
    console.print(f"{right} of {len(questions)} right")


if __name__ == "__main__":
    typer.run(main)
