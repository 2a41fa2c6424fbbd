"""What an LLM engine is, and which there are."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from shared.messages import NamedTool, Tool, ToolChoice, Truncation
from shared.registry import create_engine
from shared.settings import Settings


class PromptError(ValueError):
    """A prompt that the model cannot answer, now or later; says which part of it and why."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function that the model calls; `arguments` is JSON text, cut short unless `complete`.

    `call_id` ties a call of the conversation to its output; a new one has none yet.
    """

    name: str
    arguments: str
    complete: bool = True
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    An assistant's may have calls. A tool's is what the function `name` returned to the call
    `call_id`; it comes after the assistant's message with that call.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[Call, ...] = ()
    name: str = ""
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation to answer, oldest message first.

    `prefix` is the beginning of the answer where one was emitted already: the engine goes on
    after it. At most `max_tokens` more tokens are generated. `temperature` None is the engine's
    own choice. The model calls `tools` as `choice` says, at most one of them unless `parallel`.
    """

    messages: list[Message]
    prefix: str = ""
    max_tokens: int = 256
    temperature: float | None = None
    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = "auto"
    parallel: bool = True
    truncation: Truncation = field(default_factory=Truncation)

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that the model may call."""
        return () if self.choice == "none" else self.tools

    @property
    def forced(self) -> tuple[Tool, ...]:
        """The tools of which the model must call one, if it must.

        Raises:
            PromptError: the tool that is named is not there, or none is.
        """
        if self.choice in ("auto", "none"):
            return ()
        named = self.choice.name if isinstance(self.choice, NamedTool) else None
        forced = tuple(tool for tool in self.tools if named in (None, tool.name))
        if not forced:
            raise PromptError(f"tool_choice: no tool {named or 'to call'} is among the tools")
        return forced


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's words."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of an answer: the model ended it ("stop") or it was cut ("length").

    `cached_tokens` of the prompt's were read for an earlier answer.
    """

    finish: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


Step = Delta | Call | Completion
"""What an engine puts out: deltas, then calls, then one completion."""


class LlmEngine(Protocol):
    """Answers conversations, `slots` of them at once; more wait their turn."""

    name: str
    model: str
    slots: int
    works_ahead: bool
    """Whether it may answer what nobody has asked yet: not if each request costs something."""

    @property
    def read_ahead(self) -> Callable[[Prompt], Awaitable[None]] | None:
        """Reads a conversation, so that the answer to one that begins with it begins sooner; raises
        as `stream` does. Cancelled, it returns once its slot is free, within two steps. None if the
        engine keeps nothing of what it read."""
        ...

    def load(self) -> None:
        """Loads the model and warms it up; blocks.

        Raises:
            ModelMissing: the model is not on this machine.
        """

    def close(self) -> None:
        """Stops every answer and frees the model."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        """Answers a conversation: deltas as they are generated, calls whole, one completion.

        A call that is forced is one of the tools that `prompt.forced` names, with arguments that
        its schema allows, and there are no deltas; only where `max_tokens` cut it short it is not
        complete. Nothing of a call is ever in a delta.

        Closing the generator, or cancelling the task that reads it, stops the model within one
        decoding step. If the conversation is too long for the model, its oldest turns are left
        out as `prompt.truncation` says; the system messages and all from the last user message on
        always stay.

        Raises:
            PromptError: those alone are too long for the model, or nothing may be left out; the
                forced tool is not there, or the model cannot be held to its schema.
        """


def _llama(settings: Settings) -> LlmEngine:
    from workers.llm.engines.llama import LlamaEngine

    return LlamaEngine(settings)


def _transformers(settings: Settings) -> LlmEngine:
    from workers.llm.engines.transformers import TransformersEngine

    return TransformersEngine(settings)


def _openai(settings: Settings) -> LlmEngine:
    from workers.llm.engines.remote import RemoteEngine

    return RemoteEngine(settings)


def _instant(settings: Settings) -> LlmEngine:
    from workers.llm.engines.instant import InstantEngine

    return InstantEngine(settings)


def _paced(settings: Settings) -> LlmEngine:
    from workers.llm.engines.paced import PacedEngine

    return PacedEngine(settings)


ENGINES: dict[str, Callable[[Settings], LlmEngine]] = {
    "llama": _llama,
    "transformers": _transformers,
    "openai": _openai,
    "instant": _instant,
    "paced": _paced,
}


def create(settings: Settings) -> LlmEngine:
    """The engine that `PARLEY_LLM_ENGINE` or the profile names; EngineMissing if there is none."""
    return create_engine("llm", ENGINES, settings)
