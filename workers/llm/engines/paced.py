"""Answers without a model that take their time, so that a fault can find them at work."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from shared.settings import Settings
from workers.llm.engines import Delta, Prompt, Step
from workers.llm.engines.instant import InstantEngine


class PacedEngine(InstantEngine):
    """Says what `instant` says, a word every `paced_token_ms`."""

    name = "paced"
    model = "paced"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._token_s = settings.paced_token_ms / 1000

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        async with aclosing(super().stream(prompt)) as steps:
            async for step in steps:
                if isinstance(step, Delta):
                    await asyncio.sleep(self._token_s)
                yield step
