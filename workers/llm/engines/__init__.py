"""What an LLM engine is, and which there are."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from shared.registry import create_engine
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation to answer, oldest message first.

    `prefix` is the beginning of the answer where one was emitted already: the engine goes on
    after it. At most `max_tokens` more tokens are generated. `temperature` None is the engine's
    own choice.
    """

    messages: list[Message]
    prefix: str = ""
    max_tokens: int = 256
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of an answer: the model ended it ("stop") or it was cut ("length")."""

    finish: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


class LlmEngine(Protocol):
    """Answers conversations, `slots` of them at once; more wait their turn."""

    name: str
    model: str
    slots: int

    def load(self) -> None:
        """Loads the model and warms it up; blocks.

        Raises:
            ModelMissing: the model is not on this machine.
        """

    def close(self) -> None:
        """Stops every answer and frees the model."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Completion, None]:
        """Answers a conversation: deltas as they are generated, then one completion.

        Closing the generator, or cancelling the task that reads it, stops the model within one
        decoding step. If the conversation is too long for the model, its oldest turns are left
        out; the system message and all from the last user message on always stay.

        Raises:
            ValueError: those alone are too long for the model.
        """


def _llama(settings: Settings) -> LlmEngine:
    from workers.llm.engines.llama import LlamaEngine

    return LlamaEngine(settings)


def _instant(settings: Settings) -> LlmEngine:
    from workers.llm.engines.instant import InstantEngine

    return InstantEngine(settings)


def _paced(settings: Settings) -> LlmEngine:
    from workers.llm.engines.paced import PacedEngine

    return PacedEngine(settings)


ENGINES: dict[str, Callable[[Settings], LlmEngine]] = {
    "llama": _llama,
    "instant": _instant,
    "paced": _paced,
}


def create(settings: Settings) -> LlmEngine:
    """The engine that `PARLEY_LLM_ENGINE` or the profile names; ValueError if there is none."""
    return create_engine("llm", ENGINES, settings)
