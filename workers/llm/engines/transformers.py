"""Transformers with its continuous batching
(https://huggingface.co/docs/transformers/continuous_batching).

Answers of many sessions are written in one batch, which each of them joins and leaves at any step.
Prompts that begin alike share the cache of their beginning. A model calls tools in the form that
its chat template shows; what Qwen, Hermes and Llama 3.1 write is recognised. A call that is forced
is forced on every model, by a grammar.
"""

import asyncio
import logging
import queue
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from transformers import AutoTokenizer
from transformers.utils.logging import (
    disable_default_handler,
    disable_progress_bar,
    enable_propagation,
)

from shared.models import resolve
from shared.registry import loaded
from shared.settings import Settings
from workers.llm.engines import Completion, Message, Prompt, Step
from workers.llm.engines.transformers_batch import Batch, Generated, Request
from workers.llm.engines.transformers_chat import Chat, Writing
from workers.llm.engines.transformers_logits import COLDEST, Guide
from workers.llm.engines.transformers_model import batching, load_model, sampling


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model at work; `temperature` is for prompts that name none, `ends` end an answer."""

    chat: Chat
    batch: Batch
    temperature: float
    ends: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt as the model takes it."""

    tokens: list[int]
    longest: int
    guide: Guide | None
    writing: Writing


class TransformersEngine:
    """Answers up to `slots` conversations in one batch."""

    name = "transformers"
    works_ahead = True
    read_ahead = None

    def __init__(self, settings: Settings) -> None:
        self.model = settings.model("llm")
        self.slots = settings.llm_slots
        self._settings = settings
        self._loaded: _Loaded | None = None

    def load(self) -> None:
        _log_as_others_do()
        folder = resolve(self.model, self._settings.models_dir)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = load_model(self.model, folder, self._settings)
        chosen = sampling(model, tokenizer.eos_token_id)
        chat = Chat(
            self.model,
            tokenizer,
            self._settings.llm_context_tokens,
            model.config.vocab_size,
            chosen.eos_token_id,
        )
        batch = Batch(model, chosen, batching(model, self._settings))
        self._loaded = _Loaded(chat, batch, chosen.temperature, frozenset(chosen.eos_token_id))
        self._warm_up()

    def close(self) -> None:
        at_work, self._loaded = self._loaded, None
        if at_work is not None:
            at_work.batch.close()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        at_work = loaded(self._loaded, self.name)
        asked = await asyncio.to_thread(_asked, at_work.chat, prompt)
        loop = asyncio.get_running_loop()
        outputs: asyncio.Queue[Generated | Exception] = asyncio.Queue()
        request = Request(
            asked.tokens,
            asked.longest,
            at_work.temperature if prompt.temperature is None else max(prompt.temperature, COLDEST),
            lambda output: loop.call_soon_threadsafe(outputs.put_nowait, output),
            asked.guide,
        )
        at_work.batch.submit(request)
        try:
            last_token = 0
            finished = False
            while not finished:
                output = await outputs.get()
                if isinstance(output, Exception):
                    raise output
                for delta in asked.writing.feed(output.tokens):
                    yield delta
                last_token = output.tokens[-1]
                finished = output.finished or asked.writing.over
            cut = not asked.writing.over and last_token not in at_work.ends
            for step in asked.writing.end(cut):
                yield step
            yield Completion(
                "length" if cut else "stop",
                len(request.tokens),
                request.delivered,
                request.cached_tokens or 0,
            )
        finally:
            at_work.batch.withdraw(request)

    def _warm_up(self) -> None:
        """Reads the beginning that most conversations share."""
        at_work = loaded(self._loaded, self.name)
        greeting = [Message("system", self._settings.instructions), Message("user", "Hello.")]
        tokens, _ = at_work.chat.read(Prompt(greeting, max_tokens=1))
        outputs: queue.SimpleQueue[Generated | Exception] = queue.SimpleQueue()
        at_work.batch.submit(Request(tokens, 1, COLDEST, outputs.put))
        output = outputs.get()
        if isinstance(output, Exception):
            raise output


def _log_as_others_do() -> None:
    """Takes away the library's own ways to a terminal, of which continuous batching has another."""
    disable_progress_bar()
    disable_default_handler()
    enable_propagation()
    batching = logging.getLogger("ContinuousBatchingLogger")
    batching.handlers.clear()
    batching.propagate = True
    batching.setLevel(logging.WARNING)


def _asked(chat: Chat, prompt: Prompt) -> _Asked:
    """Takes long enough to be done in a thread: grammars are compiled, conversations tokenized."""
    writing = chat.writing(prompt)  # which refuses what is no schema before it becomes a grammar
    return _Asked(*chat.read(prompt), chat.guide(prompt), writing)
