"""What a server streams of an answer, and what of it is the answer's words."""

import json
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from workers.llm.engines import Call, Completion

_OPENS, _CLOSES = "<think>", "</think>"
_MARKS = frozenset(".,;:!?)")


class Function(msgspec.Struct):
    """Part of a call: its name, and the next piece of its arguments."""

    name: str | None = None
    arguments: str | None = None


class CallPart(msgspec.Struct):
    """Part of the call number `index`."""

    function: Function
    index: int = 0
    id: str | None = None


class Delta(msgspec.Struct):
    """What a chunk adds to the answer. Reasoning that a server tells apart has fields of its own,
    which nobody reads."""

    content: str | None = None
    tool_calls: list[CallPart] | None = None


class Choice(msgspec.Struct):
    """The one answer of a chunk."""

    delta: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct):
    """What the prompt consists of."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """What an answer took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None


class Chunk(msgspec.Struct):
    """A `chat.completion.chunk`, as far as it is read."""

    choices: list[Choice] = []
    usage: Usage | None = None


class Thoughts:
    """Leaves out what a model thinks before it answers: `<think>…</think>` at the beginning."""

    def __init__(self) -> None:
        self._held = ""
        self._thinks = False
        self._over = False

    def feed(self, text: str) -> str:
        """Takes in what was written next; what of it is to be said."""
        if self._over:
            return text
        self._held += text
        while True:
            if self._thinks:
                _, closed, after = self._held.partition(_CLOSES)
                if not closed:
                    self._held = self._held[1 - len(_CLOSES) :]
                    return ""
                self._held, self._thinks = after.lstrip(), False
            begins = self._held.lstrip()
            if begins.startswith(_OPENS):
                self._held, self._thinks = begins.removeprefix(_OPENS), True
            elif _OPENS.startswith(begins):
                return ""
            else:
                self._over = True
                return self.end()

    def end(self) -> str:
        """What was held back until it was clear what it is."""
        held, self._held = self._held, ""
        return "" if self._thinks else held


class Continuation:
    """Joins an answer to its beginning, which was said already.

    A server that cannot go on in the middle of an answer may say the beginning again: if it does
    so to the letter, that is left out. Then, too, a space is put between two words where neither
    side has one, unless the model `continues` its own text and knows what it does.
    """

    def __init__(self, prefix: str, continues: bool) -> None:
        self._prefix = prefix
        self._continues = continues
        self._held = ""
        self._joined = not prefix

    def feed(self, text: str) -> str:
        """Takes in what was written next; what of it is to be said."""
        if self._joined:
            return text
        self._held += text
        begins, said = self._held.lstrip(), self._prefix.strip()
        if not begins or (len(begins) < len(said) and said.startswith(begins)):
            return ""
        if len(said) > 1 and begins.startswith(said):
            self._held, self._continues = begins.removeprefix(said), True
        return self.end()

    def end(self) -> str:
        """What was held back until it was clear what it is."""
        held, self._held, self._joined = self._held, "", True
        last, first = self._prefix[-1:], held[:1]
        if last.isspace():
            return held.lstrip()
        apart = _is_word(first) and (_is_word(last) or last in _MARKS)
        return f" {held}" if apart and not self._continues else held


def _is_word(character: str) -> bool:
    """Whether it is of a word, in a script that puts spaces between them."""
    return character.isalnum() and character < "\u2e80"


@dataclass(slots=True)
class Reading:
    """One answer as it comes: its calls, how it ended and what it took."""

    finish: Literal["stop", "length"] | None = None
    tokens: int = 0
    usage: Usage | None = None
    _calls: list[tuple[CallPart, Call]] = field(default_factory=list)

    def take(self, chunk: Chunk) -> str:
        """Takes in a chunk; its words."""
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        for part in choice.delta.tool_calls or ():
            self._add(part)
        if choice.finish_reason:
            self.finish = "length" if choice.finish_reason == "length" else "stop"
        text = choice.delta.content or ""
        self.tokens += bool(text or choice.delta.tool_calls)
        return text

    @property
    def calls(self) -> list[Call]:
        """The calls; one that was cut short has arguments that are no JSON object."""
        cut = self.finish == "length"
        return [_ended(call, cut) for _, call in self._calls]

    def as_call(self, name: str, arguments: str) -> Call:
        """An answer that was asked for as a call's arguments."""
        return _ended(Call(name, arguments), self.finish == "length")

    @property
    def completion(self) -> Completion:
        """The answer's end; a server that counts no tokens is taken to send one a chunk."""
        usage = self.usage or Usage(completion_tokens=self.tokens)
        details = usage.prompt_tokens_details or PromptDetails()
        return Completion(
            self.finish or "stop",
            usage.prompt_tokens,
            usage.completion_tokens,
            details.cached_tokens or 0,
        )

    def _add(self, part: CallPart) -> None:
        """Takes in part of a call. There are servers that number each call 0, and tell them apart
        by their ids."""
        name, more = part.function.name or "", part.function.arguments or ""
        for number, (first, call) in enumerate(self._calls):
            if first.index == part.index and part.id in (None, "", first.id):
                self._calls[number] = (first, Call(call.name + name, call.arguments + more))
                return
        self._calls.append((part, Call(name, more)))


def _ended(call: Call, cut: bool) -> Call:
    arguments = call.arguments.strip() or ("" if cut else "{}")
    try:
        complete = isinstance(json.loads(arguments), dict)
    except ValueError:
        complete = False
    return Call(call.name, arguments, complete)
