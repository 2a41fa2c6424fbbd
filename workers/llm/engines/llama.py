"""llama.cpp in process, through xllamacpp (https://github.com/xorbitsai/xllamacpp)."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import xllamacpp

from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.llm.engines import Completion, Delta, Message, Prompt
from workers.llm.engines.history import shortened

# A small model is right most often when nothing is left to chance. A repetition penalty would keep
# it from the question's own words, which answers need; DRY keeps it from going in circles only:
# https://github.com/oobabooga/text-generation-webui/pull/5677
_TEMPERATURE = 0.0
_SAMPLING = {"top_p": 0.9, "min_p": 0.05, "dry_multiplier": 0.8}
# A step reads at most so many tokens of new prompts. Answers that are being written wait for it,
# and so does a cancellation: at 3.5 ms a token, for less than half a second.
_PROMPT_BATCH = 128
# What was read of conversations that hold no slot at present, so as not to read it again.
_PREFIX_CACHE_MIB = 512


class LlamaEngine:
    """Continuous batching over `slots` conversations, each with a context of its own."""

    name = "llama"

    def __init__(self, settings: Settings) -> None:
        self.model = settings.llm_model
        self.slots = settings.llm_slots
        self._settings = settings
        self._server: xllamacpp.Server | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._decodings: set[_Decoding] = set()

    def load(self) -> None:
        path = _gguf(resolve(self.model, self._settings.models_dir))
        # The library serves HTTP, wanted or not. It gets a socket in a folder that nobody else
        # may enter and that is gone once it listens.
        with tempfile.TemporaryDirectory(prefix="parley-") as private:
            params = _params(path, self._settings, Path(private) / "llama.sock")
            self._server = xllamacpp.Server(params)
        self._threads = ThreadPoolExecutor(self.slots, thread_name_prefix="llama")
        # Every slot reads the beginning that most conversations share.
        greeting = [Message("system", self._settings.instructions), Message("user", "Hello.")]
        for slot in range(self.slots):
            request = _request(greeting, Prompt(greeting, max_tokens=1), prefix="")
            self._server.handle_chat_completions({**request, "id_slot": slot}, lambda _: False)

    def close(self) -> None:
        for decoding in list(self._decodings):
            decoding.abort(RuntimeError("the llama engine was closed"))
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._server = self._threads = None

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Completion, None]:
        server, threads = loaded(self._server, self.name), loaded(self._threads, self.name)
        decoding = _Decoding(server, prompt, self._settings.llm_context_tokens)
        self._decodings.add(decoding)
        # As many threads as slots: what has no slot yet waits here, where it can be cancelled.
        future = threads.submit(decoding.run)
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


class _TooLong(Exception):
    """The messages leave no room for an answer."""


class _Decoding:
    """One answer: decoded in a thread, read on the event loop on which it was made."""

    def __init__(self, server: xllamacpp.Server, prompt: Prompt, context_tokens: int) -> None:
        self.items: asyncio.Queue[Delta | Completion | Exception] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._prompt = prompt
        self._context_tokens = context_tokens
        self._cancelled = threading.Event()
        # After a prefix that ends in a space the next word would have to begin without its own,
        # which a model seldom saw: it gets the prefix without, and its space is taken away.
        self._prefix = prompt.prefix.rstrip()
        self._space_given = self._prefix != prompt.prefix
        self._finish: Literal["stop", "length"] = "stop"
        self._outcome: Completion | Exception | None = None

    def cancel(self) -> None:
        self._cancelled.set()

    def abort(self, reason: Exception) -> None:
        """Cancels, and tells the reader why."""
        self._put(reason)
        self.cancel()

    def run(self) -> None:
        """Decodes to the end, an error or a cancellation; blocks."""
        try:
            self._put(self._decode_what_fits())
        except Exception as error:
            self._put(error)

    def _decode_what_fits(self) -> Completion | Exception:
        *longer, shortest = shortened(self._prompt.messages, block=self._context_tokens)
        room = min(self._prompt.max_tokens, self._context_tokens // 2)
        for messages in longer:
            outcome = self._decode(messages, room)
            if not isinstance(outcome, _TooLong):
                return outcome
        outcome = self._decode(shortest, room=1)
        if isinstance(outcome, _TooLong):
            return ValueError(f"messages: the instructions and the last question: {outcome}")
        return outcome

    def _decode(self, messages: Sequence[Message], room: int) -> Completion | Exception:
        """Answers `messages` if they leave `room` tokens of the context."""
        self._outcome = None

        def on_chunk(chunk: dict[str, Any]) -> bool:
            self._take(chunk, room)
            return self._cancelled.is_set() or isinstance(self._outcome, Exception)

        request = _request(messages, self._prompt, self._prefix)
        self._server.handle_chat_completions(request, on_chunk)
        return self._outcome or RuntimeError("llama.cpp ended an answer without saying why")

    def _take(self, chunk: dict[str, Any], room: int) -> None:
        if error := chunk.get("error"):
            too_long = error.get("type") == "exceed_context_size_error"
            self._outcome = (_TooLong if too_long else RuntimeError)(error["message"])
            return
        # Sent before the prompt is read, so that one too many costs nothing.
        if (progress := chunk.get("prompt_progress")) is not None:
            tokens = progress["total"]
            if tokens + room > self._context_tokens:
                self._outcome = _TooLong(f"{tokens} of {self._context_tokens} tokens")
            return
        for choice in chunk["choices"]:
            if text := choice["delta"].get("content"):
                self._put_text(text)
            self._finish = choice["finish_reason"] or self._finish
        if usage := chunk.get("usage"):
            self._outcome = Completion(
                self._finish, usage["prompt_tokens"], usage["completion_tokens"]
            )

    def _put_text(self, text: str) -> None:
        if self._space_given:
            text = text.lstrip()
            self._space_given = not text
        if text:
            self._put(Delta(text))

    def _put(self, item: Delta | Completion | Exception) -> None:
        if not self._cancelled.is_set():
            self._loop.call_soon_threadsafe(self.items.put_nowait, item)


def _params(model: Path, settings: Settings, socket: Path) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel = settings.llm_slots
    params.n_ctx = settings.llm_slots * settings.llm_context_tokens
    params.kv_unified = False  # each slot owns its share of the context
    params.fit_params = False  # as configured, or an error: never a smaller context in silence
    params.n_batch = params.n_ubatch = _PROMPT_BATCH
    params.cache_ram_mib = _PREFIX_CACHE_MIB
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = settings.llm_threads
        cpu.poll = 0  # a thread that waits actively takes its core away from the other stages
    params.hostnames = [str(socket)]
    params.ui = False
    params.verbosity = 0
    return params


def _request(messages: Sequence[Message], prompt: Prompt, prefix: str) -> dict[str, Any]:
    # llama.cpp goes on with an assistant's message that comes last.
    begun = [Message("assistant", prefix)] if prefix else []
    temperature = _TEMPERATURE if prompt.temperature is None else prompt.temperature
    return {
        "messages": [{"role": m.role, "content": m.content} for m in (*messages, *begun)],
        "max_tokens": prompt.max_tokens,
        "temperature": temperature,
        **_SAMPLING,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }


def _gguf(path: Path) -> Path:
    """The model file: `path` itself, or the only one in that folder."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.gguf"))
    if len(found) != 1:
        raise ValueError(f"{path} must hold one .gguf file, not {len(found)}")
    return found[0]
