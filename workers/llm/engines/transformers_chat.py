"""What a model reads, and what it wrote: from a prompt to tokens, and from tokens to steps."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import llguidance.hf
from jinja2 import TemplateError
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

from shared.messages import Tool
from shared.registry import CannotStart
from workers.llm.engines import Call, Delta, Message, Prompt, PromptError
from workers.llm.engines.chat import declared, native_messages, plain_messages
from workers.llm.engines.forced import ForcedCall, grammar
from workers.llm.engines.history import attempts, refusal
from workers.llm.engines.prefix import Prefix
from workers.llm.engines.recognised import Recogniser, recogniser
from workers.llm.engines.transformers_logits import Guide

_CLOCK = Tool(name="clock", description="Tells the time.", parameters='{"type": "object"}')

log = logging.getLogger(__name__)


class Chat:
    """A model's chat template and tokenizer.

    Raises:
        CannotStart: the model has no chat template.
    """

    def __init__(
        self,
        model: str,
        tokenizer: PreTrainedTokenizerFast,
        context_tokens: int,
        vocabulary: int,
        ends: Sequence[int],
    ) -> None:
        """`vocabulary` is how many logits a token has, `ends` are the tokens that end an answer."""
        if not tokenizer.chat_template:
            raise CannotStart(
                f"PARLEY_LLM_MODEL: {model} has no chat template: choose a model that was trained"
                " to follow instructions"
            )
        self._tokenizer = tokenizer
        # A tokenizer file may say to cut and to pad. Used without Transformers' own `encode`, which
        # sets both at every call, tokenizers can be shared by threads.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        self._context_tokens = context_tokens
        self._grammars = llguidance.hf.from_tokenizer(
            tokenizer, n_vocab=vocabulary, eos_token=list(ends)
        )
        self._recogniser = recogniser(tokenizer.get_chat_template(tools=declared([_CLOCK])))
        if self._recogniser is None:
            log.info(
                "%s is shown no tools: its chat template has no form of calls known here", model
            )

    def read(self, prompt: Prompt) -> tuple[list[int], int]:
        """A prompt's tokens, as much of the conversation as fits, and how many more may follow.

        Raises:
            PromptError: what must stay is too long, or the template refuses it.
        """
        problem = ""
        for messages, longest in attempts(
            prompt, self._context_tokens, lambda some: len(self._tokens(prompt, some))
        ):
            tokens = self._tokens(prompt, messages, Prefix(prompt.prefix).text)
            if len(tokens) <= longest:
                return tokens, min(prompt.max_tokens, self._context_tokens - len(tokens))
            problem = f"{len(tokens)} tokens where {longest} fit"
        raise refusal(prompt, problem)

    def guide(self, prompt: Prompt) -> Guide | None:
        """What holds the model to the call that it must make, if it must.

        Raises:
            PromptError: the tool is not there, or the model cannot be held to its schema.
        """
        if not prompt.forced:
            return None
        trained = self._recogniser is not None
        try:
            return Guide(self._grammars, grammar(prompt.forced, trained=trained))
        except ValueError as error:
            if isinstance(error, PromptError):
                raise
            names = ", ".join(tool.name for tool in prompt.forced)
            raise PromptError(
                f"tools: the model cannot be held to the parameters of {names}: {error}"
            ) from error

    def writing(self, prompt: Prompt) -> "Writing":
        """What turns the tokens of an answer into steps.

        Raises:
            PromptError: the parameters of the tool that must be called are no JSON schema.
        """
        finds_calls = self._recogniser if prompt.offered else None
        return Writing(self._tokenizer, prompt, finds_calls() if finds_calls else None)

    def _tokens(self, prompt: Prompt, messages: Sequence[Message], prefix: str = "") -> list[int]:
        # As for llama.cpp: nobody copies calls from a past that shows none.
        shown = self._recogniser is not None and bool(prompt.offered)
        told = _with_objects(native_messages(messages)) if shown else plain_messages(messages)
        try:
            text = self._tokenizer.apply_chat_template(
                told or [{"role": "user", "content": ""}],  # without any, templates fail
                tools=declared(prompt.offered) if shown else None,
                add_generation_prompt=True,
                tokenize=False,
                enable_thinking=False,  # what some models do aloud, if not told otherwise
            )
        except TemplateError as error:
            raise PromptError(
                f"messages: the model's chat template refuses them: {error}"
            ) from error
        encoded = self._tokenizer.backend_tokenizer.encode(text + prefix, add_special_tokens=False)
        return list(encoded.ids)


class Writing:
    """An answer as it is written: what of its tokens are words, and which calls it makes.

    A character whose bytes come in several tokens is whole or not there.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, prompt: Prompt, finds_calls: Recogniser | None
    ) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._text = DecodeStream(skip_special_tokens=True)
        self._prefix = Prefix(prompt.prefix)
        self._forced = ForcedCall(prompt.forced) if prompt.forced else None
        self._finds_calls = finds_calls
        self._parallel = prompt.parallel

    @property
    def over(self) -> bool:
        """Whether the only call that may be made has been."""
        return (
            not self._parallel and self._finds_calls is not None and bool(self._finds_calls.calls)
        )

    def feed(self, tokens: Iterable[int]) -> Iterator[Delta]:
        """The words in what was generated next.

        Raises:
            PromptError: the model was not held to the call that it must make.
        """
        pieces = (self._text.step(self._tokenizer, token) for token in tokens)
        text = "".join(piece for piece in pieces if piece)
        if self._forced is not None:
            if text:
                self._forced.feed(text)
            return
        if self._finds_calls is not None:
            text = self._finds_calls.feed(text)
        if text := self._prefix.continued(text):
            yield Delta(text)

    def end(self, cut: bool) -> Iterator[Delta | Call]:
        """The last words, and the calls; `cut` says that the model was not let finish.

        Raises:
            PromptError: as `feed`, or the arguments are not what the schema allows.
        """
        if self._forced is not None:
            yield from self._forced.ended(cut)
        elif self._finds_calls is not None:
            if text := self._prefix.continued(self._finds_calls.end()):
                yield Delta(text)
            yield from self._finds_calls.calls[: None if self._parallel else 1]


def _with_objects(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose calls' arguments are objects, as chat templates take them, not JSON text."""
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return messages
