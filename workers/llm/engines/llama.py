"""llama.cpp in process, through xllamacpp (https://github.com/xorbitsai/xllamacpp).

How a model comes to call tools depends on its chat template. One that knows tools shows them in the
form that the model was trained with, and llama.cpp recognises calls in the answer. A model whose
template knows none was not trained to call any, and is not told of them: the starter model, told in
four ways, called none in 32 requests for light or the weather, and answered some with code. A call
that is forced is forced on every model, by a grammar.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

# OpenMP's threads wait for each other hundreds of times a step, and spin for milliseconds unless
# they are told otherwise: beside a busy stage, two of them then wrote half as fast as one. These
# spin for some microseconds, then they sleep. The library reads it once, when it is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "500")

import xllamacpp

from shared.messages import Tool
from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.llm.engines import Completion, Message, Prompt, Step
from workers.llm.engines.decoding import Decoding, Model, prompt_tokens, request
from workers.llm.engines.llama_slots import SlotChoice

# A step reads at most so many tokens of new prompts. Answers that are being written wait for it,
# and a cancellation for two: at 3.5 ms a token, for a quarter of a second. Steps of 128 take a
# sixth less a token.
_PROMPT_BATCH = 32
# What was read of conversations that hold no slot at present, so as not to read it again.
_PREFIX_CACHE_MIB = 512

log = logging.getLogger(__name__)


class LlamaEngine:
    """Continuous batching over `slots` conversations, each with a context of its own.

    `chat_template` replaces the model's own.
    """

    name = "llama"
    works_ahead = True

    def __init__(self, settings: Settings, chat_template: str = "") -> None:
        self.model = settings.model("llm")
        self.slots = settings.llm_slots
        self._settings = settings
        self._chat_template = chat_template
        self._model: Model | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._decodings: set[Decoding] = set()

    def load(self) -> None:
        path = _gguf(resolve(self.model, self._settings.models_dir))
        # The library serves HTTP, wanted or not. It gets a socket in a folder that nobody else
        # may enter and that is gone once it listens.
        with tempfile.TemporaryDirectory(prefix="parley-") as private:
            params = _params(path, self._settings, Path(private) / "llama.sock")
            params.chat_template = self._chat_template
            server = xllamacpp.Server(params)
        # Every slot reads the beginning that most conversations share.
        greeting = [Message("system", self._settings.instructions), Message("user", "Hello.")]
        for slot in range(self.slots):
            warm_up = request(greeting, Prompt(greeting, max_tokens=1), prefix="", native=False)
            server.handle_chat_completions({**warm_up, "id_slot": slot}, lambda _: False)
        native = _knows_tools(server, greeting)
        slots = SlotChoice(self.slots, greeting[:1])
        self._model = Model(server, self._settings.llm_context_tokens, native, slots)
        self._threads = ThreadPoolExecutor(self.slots, thread_name_prefix="llama")

    def close(self) -> None:
        if self._threads is not None:
            # First, so that nothing is begun after all that was begun has been told.
            self._threads.shutdown(wait=False, cancel_futures=True)
            for decoding in list(self._decodings):
                decoding.abort(_closed())
            self._threads.shutdown()
        self._model = self._threads = None

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        decoding = Decoding(loaded(self._model, self.name), prompt)
        future = self._submit(decoding)
        try:
            while True:
                item = await decoding.items.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Completion):
                    return
        finally:
            decoding.cancel()
            future.cancel()
            self._decodings.discard(decoding)

    async def read_ahead(self, prompt: Prompt) -> None:
        decoding = Decoding(loaded(self._model, self.name), prompt, reading=True)
        reading = asyncio.wrap_future(self._submit(decoding))
        try:
            await asyncio.shield(reading)
        finally:
            decoding.cancel()
            # Only then is the slot free for an answer that goes on from there.
            await asyncio.wait({reading})
            self._decodings.discard(decoding)
        while not decoding.items.empty():
            item = decoding.items.get_nowait()
            if isinstance(item, Exception):
                raise item

    def _submit(self, decoding: Decoding) -> Future[None]:
        threads = loaded(self._threads, self.name)
        self._decodings.add(decoding)
        try:
            # As many threads as slots: what has no slot yet waits here, where it can be cancelled.
            return threads.submit(decoding.run)
        except RuntimeError as error:  # they were shut down in this moment
            self._decodings.discard(decoding)
            raise _closed() from error


def _closed() -> RuntimeError:
    return RuntimeError("the llama engine was closed")


def _knows_tools(server: xllamacpp.Server, messages: list[Message]) -> bool:
    """Whether the model's chat template shows it tools: the prompt is longer with one."""
    tool = Tool(name="clock", description="Tells the time.", parameters='{"type": "object"}')
    without, with_tool = Prompt(messages), Prompt(messages, tools=(tool,))
    try:
        return prompt_tokens(server, with_tool, native=True) > prompt_tokens(
            server, without, native=True
        )
    except (RuntimeError, ValueError) as error:
        log.warning("llama.cpp makes nothing of this model's way with tools: %s", error)
        return False


def _params(model: Path, settings: Settings, socket: Path) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel = settings.llm_slots
    params.n_ctx = settings.llm_slots * settings.llm_context_tokens
    params.kv_unified = False  # each slot owns its share of the context
    params.fit_params = False  # as configured, or an error: never a smaller context in silence
    params.n_batch = params.n_ubatch = _PROMPT_BATCH
    params.cache_ram_mib = _PREFIX_CACHE_MIB
    # Slots are chosen here. llama.cpp overwrites what is like a new prompt in part, without keeping
    # the rest; as nothing is more than wholly alike, it always keeps what was there.
    params.slot_prompt_similarity = 1.0
    # A step that reads a prompt, or goes on with several answers, is worth sharing out, one of a
    # single token is not: docs/performance/llm.md.
    params.cpuparams.n_threads = settings.llm_threads
    params.cpuparams_batch.n_threads = min(2 * settings.llm_threads, os.cpu_count() or 1)
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.poll = 0  # a thread that waits actively takes its core away from the other stages
    params.hostnames = [str(socket)]
    params.ui = False
    params.verbosity = 0
    return params


def _gguf(path: Path) -> Path:
    """The model file: `path` itself, or the only one in that folder."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.gguf"))
    if len(found) != 1:
        raise ValueError(f"{path} must hold one .gguf file, not {len(found)}")
    return found[0]
