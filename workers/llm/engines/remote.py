"""Any server with OpenAI's `/v1/chat/completions`: vLLM, TGI, llama.cpp, Ollama, a router."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from contextlib import aclosing

from shared.registry import loaded
from shared.remote import RemoteError, Server
from shared.settings import Settings
from workers.llm.engines import Completion, Prompt, PromptError, Step
from workers.llm.engines.remote_answering import Chat

_LONGEST_BYTES = 16 * 2**20


class RemoteEngine:
    """Asks the server; `slots` requests at a time, which the server batches.

    The requests live on an event loop of the engine's own, in a thread, where they share their
    connections whoever asks.
    """

    name = "openai"
    works_ahead = False
    read_ahead = None

    def __init__(self, settings: Settings) -> None:
        self.model = settings.model("llm")
        self.slots = settings.llm_slots
        self._server = Server.of("llm", self.model, settings, _LONGEST_BYTES)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = threading.Lock()
        self._thread = threading.Thread()
        self._chat: Chat | None = None

    def load(self) -> None:
        """As the interface has it.

        Raises:
            ServerUnfit: the server is not there, or does not answer with the model.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=self.name)
        self._thread.start()
        chat = self._chat = Chat(self._server, self._server.async_client())
        with self._server.client() as client, self._server.starting(client):
            asyncio.run_coroutine_threadsafe(chat.prepare(), self._loop).result()

    def close(self) -> None:
        with self._closing:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        """As the interface has it.

        Raises:
            PromptError: as there, or the server refuses the request for good.
            RemoteError: the server failed; another attempt may go on from what was said.
        """
        reader = _Reader()
        with self._closing:  # what is asked for before is ended by it
            loop = loaded(self._loop, self.name)
            work = asyncio.run_coroutine_threadsafe(self._answer(prompt, reader), loop)
        work.add_done_callback(reader.end)
        try:
            while True:
                item = await reader.items.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, Completion):
                    return
        finally:
            reader.gone = True
            work.cancel()

    async def _answer(self, prompt: Prompt, reader: "_Reader") -> None:
        chat = loaded(self._chat, self.name)
        try:
            async with aclosing(chat.steps(prompt)) as steps:
                async for step in steps:
                    reader.put(step)
        except RemoteError as error:
            raise PromptError(str(error)) if error.final else error from None

    async def _end(self) -> None:
        """Ends every request."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._chat is not None:
            await self._chat.client.close()


class _Reader:
    """Takes an answer to the event loop on which it was made, while somebody reads there."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[Step | BaseException] = asyncio.Queue()
        self.gone = False
        self._loop = asyncio.get_running_loop()

    def put(self, item: Step | BaseException) -> None:
        if not self.gone:
            self._loop.call_soon_threadsafe(self.items.put_nowait, item)

    def end(self, work: "Future[None]") -> None:
        """Passes on why the work ended, where it came to no end of its own."""
        if work.cancelled():
            self.put(RuntimeError("the openai engine was closed"))
        elif error := work.exception():
            self.put(error)
