"""A job that kills its worker's process every time is buried, and nobody innocent with it."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from shared.broker import Pipe
from shared.jobs import ATTEMPTS
from shared.keys import SessionKeys
from shared.messages import LlmJob, ResponseCreated, ResponseFailed, TextDelta
from shared.scripts import sessions
from shared.scripts.jobs import NewResponse
from shared.settings import environment
from tests.stages import KEYSPACE, held, open_session, shown
from tests.support.poison import BEGUN

[SHARD] = KEYSPACE.all_shards()
_DEADLINE_S = 90


@asynccontextmanager
async def supervised(url: str) -> AsyncIterator[None]:
    """A worker of the language model that is started again when it dies."""
    variables = environment(redis_url=url, shards=1, lanes=1, log_level="error")

    async def supervise() -> None:
        while True:
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.poison", env=variables
            )
            try:
                await worker.wait()
            finally:
                if worker.returncode is None:
                    worker.kill()
                    await worker.wait()

    task = asyncio.create_task(supervise())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def respond(pipe: Pipe, name: str, instructions: str) -> SessionKeys:
    session = await open_session(pipe)
    item_id = f"item_{name}"
    response = NewResponse(
        name,
        ResponseCreated(response_id=name, item_id=item_id, modality="audio"),
        LlmJob(
            session_id=session.session_id,
            response_id=name,
            item_id=item_id,
            instructions=instructions,
        ),
    )
    assert await sessions.create_response(pipe, held(session), response) == "ok"
    return session


@pytest.mark.parametrize("workers", [1, 2])
async def test_only_the_poisonous_are_buried(pipe: Pipe, redis_url: str, workers: int) -> None:
    poisons = {name: await respond(pipe, name, "poison") for name in ("poison_1", "poison_2")}
    innocents = {name: await respond(pipe, name, "") for name in (f"good_{n}" for n in range(5))}
    async with asyncio.timeout(_DEADLINE_S), AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(supervised(redis_url))
        while int(await pipe.command("XLEN", SHARD.jobs("llm"))) > 0:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    for session in poisons.values():
        [failed] = (await shown(pipe, session))[1:]
        assert isinstance(failed, ResponseFailed)
        assert failed.message.endswith(f"the worker died on each of {ATTEMPTS} attempts")
    for session in innocents.values():
        [answered] = (await shown(pipe, session))[1:]
        assert isinstance(answered, TextDelta)
    assert await pipe.command("XLEN", SHARD.dead) == len(poisons)
    begun = Counter(line.decode().split()[1] for line in await pipe.command("LRANGE", BEGUN, 0, -1))
    assert all(begun[name] == ATTEMPTS for name in poisons)
    assert all(begun[name] <= ATTEMPTS for name in innocents)
