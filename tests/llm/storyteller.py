"""A language model whose answer is known, and what is seen of it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import groupby
from typing import Literal

from shared.messages import Message, TextDelta, TtsJob
from workers.llm.engines import Call, Completion, Delta, Prompt, Step

STORY = (
    "Once there was a lighthouse keeper who counted the ships. Every evening he wrote their "
    "names into a book. One night the book was full, so he began to count the stars instead."
)


class Storyteller:
    """Tells one story, word by word, then makes `calls`; waits at `hold` words until released.

    What it reads ahead it reads until `reading` is set. With `silent` it only makes the calls;
    with `problem` it raises that instead.
    """

    model = name = "storyteller"
    slots = 4
    works_ahead = True

    def __init__(
        self,
        hold: int | None = None,
        *,
        calls: Sequence[Call] = (),
        silent: bool = False,
        finish: Literal["stop", "length"] = "stop",
        problem: Exception | None = None,
    ) -> None:
        self.hold = hold
        self.calls = calls
        self.silent = silent
        self.finish = finish
        self.problem = problem
        self.released = asyncio.Event()
        self.prompts: list[Prompt] = []
        self.read: list[Prompt] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.at_work = 0

    def load(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def read_ahead(self, prompt: Prompt) -> None:
        self.read.append(prompt)
        await self.reading.wait()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        self.prompts.append(prompt)
        self.at_work += 1
        try:
            async for step in self._story(prompt):
                yield step
        finally:
            self.at_work -= 1

    async def _story(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        if self.problem:
            raise self.problem
        assert STORY.startswith(prompt.prefix)
        words = [] if self.silent else STORY.removeprefix(prompt.prefix).split(" ")
        for number, word in enumerate(words):
            if number == self.hold:
                await self.released.wait()
            yield Delta(word if number == len(words) - 1 else word + " ")
        for call in self.calls:
            yield call
        yield Completion(self.finish, 7, len(words), 5)


def text_of(messages: list[Message]) -> str:
    return "".join(message.text for message in messages if isinstance(message, TextDelta))


def segments_of(messages: list[Message]) -> list[str]:
    deltas = [message for message in messages if isinstance(message, TextDelta)]
    grouped = groupby(deltas, key=lambda message: message.segment)
    return ["".join(message.text for message in group) for _, group in grouped]


def speech_of(jobs: list[Message]) -> list[str]:
    return [job.text for job in jobs if isinstance(job, TtsJob)]
