"""Calls that a model makes in the form it was trained with, found in its text as it is written.

llama.cpp finds them itself; with a library that only generates text, it is done here. A model's
chat template tells which form is its own.
"""

import json
import logging
import re
from collections.abc import Callable
from typing import Any, Protocol

from workers.llm.engines import Call

_TAG = "<tool_call>"
# How a call begins, but for white space.
_OPENING = '{"name":"'
# The part of an unfinished call that is there: its name, and its arguments up to the cut.
_BEGUN = re.compile(
    r'\s*\{\s*"name"\s*:\s*(?P<name>"(?:[^"\\]|\\.)*")'
    r'(?:\s*,\s*"(?:arguments|parameters)"\s*:\s*(?P<arguments>.*))?',
    re.DOTALL,
)

log = logging.getLogger(__name__)


class Recogniser(Protocol):
    """Tells an answer's words from its calls. `calls` are those that are complete."""

    calls: list[Call]

    def feed(self, text: str) -> str:
        """Takes in what was generated next, and returns the words that are certain by now."""

    def end(self) -> str:
        """Takes in that nothing follows, and returns the last words.

        A call that was begun and not finished is the last of `calls`, and not complete.
        """


class TaggedCalls:
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, after words or without: the form
    of Qwen, Hermes and many more.

    What comes after a call is no answer: the model does not know yet what the function returns.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._held = ""
        self._inside = False
        self._called = False

    def feed(self, text: str) -> str:
        self._held += text
        words = ""
        while True:
            if self._inside:
                value, rest = _value(self._held)
                if value is None:
                    return words
                self._held, self._inside = rest, False
                called = _calls(value)
                if not called:
                    log.warning("the model wrote a call that names no function")
                self.calls += called
                continue
            before, tag, after = self._held.partition(_TAG)
            if not tag:
                return words + self._certain()
            if not self._called:
                words += before.rstrip()
            self._held, self._inside, self._called = after, True, True

    def end(self) -> str:
        if self._inside:
            self.calls += _begun(self._held)
            return ""
        return "" if self._called else self._held

    def _certain(self) -> str:
        """The words before all that may turn out to lead to a tag."""
        held = self._held
        tails = (_TAG[:size] for size in range(len(_TAG) - 1, 0, -1))
        kept = next((tail for tail in tails if held.endswith(tail)), "")
        certain = held.removesuffix(kept).rstrip()
        self._held = held[len(certain) :]
        return "" if self._called else certain


class BareCalls:
    """An answer that is nothing but `{"name": ..., "parameters": {...}}`: the form of Llama 3.1.

    Several are separated by semicolons.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._held = ""
        self._words = False

    def feed(self, text: str) -> str:
        if self._words:
            return text
        self._held += text
        while begun := self._held.lstrip():
            if not (begun.startswith("{") or (self.calls and begun.startswith(";"))):
                return self._only_words()
            value, rest = _value(begun.removeprefix(";"))
            if value is None:
                return ""
            called = _calls(value)
            if not called and not self.calls:
                return self._only_words()
            self.calls += called
            self._held = rest
        return ""

    def end(self) -> str:
        self.calls += _begun(self._held)
        if self._words or self.calls or _OPENING.startswith("".join(self._held.split())):
            return ""
        return self._only_words()

    def _only_words(self) -> str:
        """What was held back, unless it follows a call."""
        held, self._held = self._held, ""
        self._words = not self.calls
        return held if self._words else ""


def recogniser(template: str) -> Callable[[], Recogniser] | None:
    """What finds the calls of a model with this chat template; None if its form is another."""
    if _TAG in template:
        return TaggedCalls
    if '{"name": "' in template and '"parameters": ' in template:
        return BareCalls
    return None


def _value(text: str) -> tuple[Any, str]:
    """The JSON value that the text begins with, and what follows it; None while it is not whole."""
    text = text.lstrip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError:
        return None, text
    return value, text[end:]


def _calls(value: Any) -> list[Call]:
    """The call that a JSON value is, if it is one."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return []
    arguments = value.get("arguments", value.get("parameters", {}))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return [Call(value["name"], arguments)]


def _begun(text: str) -> list[Call]:
    """The call that was begun and not finished, once its function is known."""
    found = _BEGUN.match(text.lstrip("; \n"))
    if found is None:
        return []
    return [Call(json.loads(found["name"]), found["arguments"] or "", complete=False)]
