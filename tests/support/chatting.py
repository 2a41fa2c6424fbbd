"""An engine on a server of conversations that is told what to say."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.settings import Settings
from tests.support.chat_server import MODEL
from tests.support.http import Faulty, serving
from workers.llm.engines import Delta, LlmEngine, Prompt
from workers.llm.engines.remote import RemoteEngine


@asynccontextmanager
async def chatting(server: Faulty) -> AsyncIterator[RemoteEngine]:
    """An engine that is loaded; what the server was asked for that is forgotten."""
    with serving(server) as url:
        engine = RemoteEngine(Settings(llm_url=url, llm_model=MODEL, remote_timeout_s=10))
        await asyncio.to_thread(engine.load)
        server.posted.clear()
        yield engine
        await asyncio.to_thread(engine.close)


def asked(server: Faulty, number: int = -1) -> dict[str, Any]:
    """What the server was asked."""
    body: dict[str, Any] = json.loads(server.posted[number].body)
    return body


async def listen(engine: LlmEngine, prompt: Prompt, said: list[str]) -> None:
    """Notes what is said, to the end or an error."""
    async for step in engine.stream(prompt):
        if isinstance(step, Delta):
            said.append(step.text)
