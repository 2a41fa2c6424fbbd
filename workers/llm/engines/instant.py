"""Answers without a model: they repeat the question, for tests."""

import asyncio
import re
from collections.abc import AsyncGenerator

from shared.settings import Settings
from workers.llm.engines import Completion, Delta, Prompt

_WORD = re.compile(r"\s*\S+")


class InstantEngine:
    """Says "You said: <the last user message>. That is all I know about it.", word by word."""

    name = "instant"
    model = "instant"

    def __init__(self, settings: Settings) -> None:
        self.slots = settings.llm_slots

    def load(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Completion, None]:
        asked = [m.content.strip() for m in prompt.messages if m.role == "user"]
        answer = f"You said: {asked[-1] if asked else ''}. That is all I know about it."
        words = _WORD.findall(answer.removeprefix(prompt.prefix))
        for word in words[: prompt.max_tokens]:
            yield Delta(word)
            await asyncio.sleep(0)  # where a cancellation gets in
        read = sum(len(m.content.split()) for m in prompt.messages)
        said = min(len(words), prompt.max_tokens)
        yield Completion("stop" if said == len(words) else "length", read, said)
