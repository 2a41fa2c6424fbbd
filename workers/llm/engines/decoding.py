"""One answer of llama.cpp."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import xllamacpp

from workers.llm.engines import Call, Completion, Delta, Message, Prompt, PromptError, Step
from workers.llm.engines.chat import declared, native_messages, plain_messages
from workers.llm.engines.forced import ForcedCall, grammar
from workers.llm.engines.history import attempts, refusal
from workers.llm.engines.llama_slots import SlotChoice
from workers.llm.engines.prefix import Prefix

# A small model is right most often when nothing is left to chance. A repetition penalty would keep
# it from the question's own words, which answers need; DRY keeps it from going in circles only:
# https://github.com/oobabooga/text-generation-webui/pull/5677
_TEMPERATURE = 0.0
# For each mark at which a repetition may begin anew llama.cpp goes through the whole vocabulary,
# 3 ms an answer; by default there are four.
_SAMPLING = {
    "top_p": 0.9,
    "min_p": 0.05,
    "dry_multiplier": 0.8,
    "dry_sequence_breakers": ["\n"],
}


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model; `native` says that its chat template knows tools."""

    server: xllamacpp.Server
    context_tokens: int
    native: bool
    slots: SlotChoice


class _TooLong(Exception):
    """The messages leave no room for an answer."""


_ERRORS: dict[str, type[Exception]] = {
    "exceed_context_size_error": _TooLong,
    "invalid_request_error": PromptError,
}


@dataclass(slots=True)
class _Written:
    """What an answer consists of besides its words."""

    forced: ForcedCall | None
    finish: Literal["stop", "length"] = "stop"
    recognised: dict[int, Call] = field(default_factory=dict)

    def add(self, index: int, part: dict[str, Any]) -> None:
        """Takes in part of a call that llama.cpp recognised."""
        before = self.recognised.get(index, Call("", ""))
        name = before.name + (part.get("name") or "")
        self.recognised[index] = Call(name, before.arguments + (part.get("arguments") or ""))

    def calls(self) -> list[Call]:
        """The calls; of an answer that was cut, the last one may not be complete."""
        cut = self.finish == "length"
        if self.forced:
            return self.forced.ended(cut)
        calls = [call for _, call in sorted(self.recognised.items())]
        if calls and cut:
            calls[-1] = Call(calls[-1].name, calls[-1].arguments, complete=False)
        return calls


class Decoding:
    """One answer: decoded in a thread, read on the event loop on which it was made.

    If it is only `reading`, the prompt is read and no answer written.
    """

    def __init__(self, model: Model, prompt: Prompt, *, reading: bool = False) -> None:
        self.items: asyncio.Queue[Step | Exception] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._model = model
        self._prompt = prompt
        self._reading = reading
        self._slot = -1
        self._cancelled = threading.Event()
        self._prefix = Prefix(prompt.prefix)
        self._written = _Written(ForcedCall(prompt.forced) if prompt.forced else None)
        self._outcome: Completion | Exception | None = None

    def cancel(self) -> None:
        self._cancelled.set()
        self._model.slots.look()

    def abort(self, reason: Exception) -> None:
        """Cancels, and tells the reader why."""
        self._put(reason)
        self.cancel()

    def run(self) -> None:
        """Decodes to the end, an error or a cancellation; blocks."""
        try:
            with self._model.slots.taken(
                self._prompt.messages, reading=self._reading, cancelled=self._cancelled.is_set
            ) as slot:
                if slot is None:
                    return
                self._slot = slot
                outcome = self._decode_what_fits()
            if isinstance(outcome, Completion):
                for call in self._written.calls():
                    self._put(call)
            self._put(outcome)
        except Exception as error:
            self._put(error)

    def _decode_what_fits(self) -> Completion | Exception:
        context = self._model.context_tokens
        outcome: Completion | Exception | None = None
        for messages, longest in attempts(self._prompt, context, self._tokens):
            outcome = self._decode(messages, longest)
            if not isinstance(outcome, _TooLong):
                return outcome
        return refusal(self._prompt, str(outcome))

    def _tokens(self, messages: list[Message]) -> int:
        alone = Prompt(messages, tools=self._prompt.tools, choice=self._prompt.choice)
        return prompt_tokens(self._model.server, alone, self._model.native, self._slot)

    def _decode(self, messages: Sequence[Message], longest: int) -> Completion | Exception:
        """Answers `messages` if they are at most `longest` tokens."""
        self._outcome = None

        def on_chunk(chunk: dict[str, Any]) -> bool:
            try:
                self._take(chunk, longest)
            except PromptError as error:
                self._outcome = error
            return self._cancelled.is_set() or isinstance(self._outcome, Exception)

        body = request(messages, self._prompt, self._prefix.text, self._model.native)
        body["id_slot"] = self._slot
        if self._reading:
            body["max_tokens"] = 1  # which is known when the prompt has been read
        try:
            self._model.server.handle_chat_completions(body, on_chunk)
        except ValueError as error:
            return PromptError(f"llama.cpp refuses the conversation or its tools: {error}")
        return self._outcome or RuntimeError("llama.cpp ended an answer without saying why")

    def _take(self, chunk: dict[str, Any], longest: int) -> None:
        if error := chunk.get("error"):
            self._outcome = _ERRORS.get(error.get("type"), RuntimeError)(error["message"])
            return
        # Sent before the prompt is read, so that one too many costs nothing.
        if (progress := chunk.get("prompt_progress")) is not None:
            if progress["total"] > longest:
                self._outcome = _TooLong(f"{progress['total']} tokens where {longest} fit")
            return
        for choice in chunk["choices"]:
            self._take_delta(choice["delta"])
            if choice["finish_reason"]:
                self._written.finish = "length" if choice["finish_reason"] == "length" else "stop"
        if usage := chunk.get("usage"):
            self._outcome = Completion(
                self._written.finish,
                usage["prompt_tokens"],
                usage["completion_tokens"],
                usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            )

    def _take_delta(self, delta: dict[str, Any]) -> None:
        for call in delta.get("tool_calls") or ():
            self._written.add(call["index"], call["function"])
        text = delta.get("content")
        if text and self._written.forced:
            self._written.forced.feed(text)
        elif text:
            self._put_text(text)

    def _put_text(self, text: str) -> None:
        if text := self._prefix.continued(text):
            self._put(Delta(text))

    def _put(self, item: Step | Exception) -> None:
        if not self._cancelled.is_set():
            self._loop.call_soon_threadsafe(self.items.put_nowait, item)


def prompt_tokens(server: xllamacpp.Server, prompt: Prompt, native: bool, slot: int = -1) -> int:
    """How long the conversation is for the model; nothing of it is read. `slot` -1 is any.

    Raises:
        RuntimeError, ValueError: llama.cpp makes nothing of it.
    """
    first: dict[str, Any] = {}

    def on_chunk(chunk: dict[str, Any]) -> bool:
        first.update(chunk)
        return True

    body = request(prompt.messages, prompt, "", native) | {"id_slot": slot}
    server.handle_chat_completions(body, on_chunk)
    if "prompt_progress" not in first:
        raise RuntimeError(first.get("error", {}).get("message", "llama.cpp said nothing"))
    return int(first["prompt_progress"]["total"])


def request(
    messages: Sequence[Message], prompt: Prompt, prefix: str, native: bool
) -> dict[str, Any]:
    """What llama.cpp's chat endpoint is asked: `messages`, else as `prompt` says."""
    shown = native and bool(prompt.offered)  # nobody copies calls from a past that shows none
    told = native_messages(messages) if shown else plain_messages(messages)
    # llama.cpp goes on with an assistant's message that comes last.
    begun = [{"role": "assistant", "content": prefix}] if prefix else []
    body = {
        "messages": [*told, *begun],
        "max_tokens": prompt.max_tokens,
        "temperature": _TEMPERATURE if prompt.temperature is None else prompt.temperature,
        **_SAMPLING,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }
    if shown:
        body["tools"] = declared(prompt.offered)
        # With a grammar of ours llama.cpp must not look for calls.
        body["tool_choice"] = "none" if prompt.forced else "auto"
        body["parallel_tool_calls"] = prompt.parallel
    if prompt.forced:
        body["grammar"] = grammar(prompt.forced, trained=native)
    return body
