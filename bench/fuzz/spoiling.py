"""Makes something wrong of an event, as a value and as text. No I/O."""

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from bench.fuzz.grammar import MARK, NUMBERS, Grammar, Json

_VALUE = re.compile(r'(?<=: )(?:"[^"\\]*"|-?\d[\d.e+]*|null|true|false)')
# Values that only some readers of JSON take for such.
_LITERALS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "9" * 400,
    "9" * 5_000,
    "0x10",
    "01",
    "+1",
    ".5",
    "undefined",
    "True",
    r'"\ud800"',
    r'"\udfff\ud800"',
    r'"\x41"',
    r'"\u00"',
    '"\x00"',
    '"\n"',
    "[" * 300 + "]" * 300,
    "[" * 20_000,
    '{"a":' * 150 + "1" + "}" * 150,
    "[" + "0," * 30_000 + "0]",
    "[" + "{}," * 5_000 + "{}]",
    "'single'",
    "/* why */ 1",
    "",
]
_DOCUMENTS = [
    "",
    " ",
    "null",
    "true",
    "17",
    "NaN",
    '"session.update"',
    "[]",
    "{}",
    "[[]]",
    "{",
    "}",
    "\ufeff{}",
    "\x00",
    f"{MARK}\r\n{MARK}",
    "[" * 100_000,
    '{"type":' * 5_000,
]


def spoiled(event: Json, grammar: Grammar, dice: random.Random) -> Json:
    """The event with one to three things done to it."""
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        if places := list(_places(event)):
            holder, key = dice.choice(places)
            dice.choice(_WAYS)(holder, key, grammar, dice)
    return event


def mangled(event: Json, dice: random.Random) -> str:
    """The event's text with something done to it; or another text altogether."""
    text = json.dumps(event, ensure_ascii=dice.random() < 0.5)
    at = dice.randrange(len(text) + 1)
    match dice.randrange(8):
        case 0:
            return dice.choice(_DOCUMENTS)
        case 1:
            return text[:at]
        case 2:
            return text[at:]
        case 3:
            return text + dice.choice([text, ",", "}", "\x00", "//"])
        case 4:
            return text[:at] + chr(dice.choice([0, 7, 10, 13, 34, 92, 0x7F, 0xFFFE])) + text[at:]
        case 5:  # one name twice
            return text[:-1] + ", " + text[1:]
        case _:
            return _with_literal(text, dice)


def _with_literal(text: str, dice: random.Random) -> str:
    """The text with one of its values written as no reader of JSON should have to read it."""
    values = list(_VALUE.finditer(text))
    if not values:
        return text
    value = dice.choice(values)
    return text[: value.start()] + dice.choice(_LITERALS) + text[value.end() :]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a value: what holds it, and its key or index there."""
    keys: Any = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


# --- ways ---


def _other(holder: Any, key: Any, grammar: Grammar, dice: random.Random) -> None:
    holder[key] = grammar.json()


def _out_of_bounds(holder: Any, key: Any, grammar: Grammar, dice: random.Random) -> None:
    holder[key] = dice.choice([*NUMBERS, -1.0, 1e300, MARK * 6_000, [MARK] * 300])


def _removed(holder: Any, key: Any, grammar: Grammar, dice: random.Random) -> None:
    del holder[key]


def _added(holder: Any, key: Any, grammar: Grammar, dice: random.Random) -> None:
    if isinstance(holder, dict):
        holder[grammar.text() or "x" * dice.choice([1, 100, 50_000])] = grammar.json()
    else:
        holder.insert(key, grammar.json())


def _renamed(holder: Any, key: Any, grammar: Grammar, dice: random.Random) -> None:
    value = holder.pop(key)
    if isinstance(holder, dict):
        holder[dice.choice([f"{key} ", str(key).upper(), f"{key}\x00", grammar.text()])] = value


def _wrapped(holder: Any, key: Any, grammar: Grammar, dice: random.Random) -> None:
    value = holder[key]
    for _ in range(dice.choice([1, 1, 40, 150])):
        value = [value] if dice.random() < 0.5 else {"type": value}
    holder[key] = value


def _repeated(holder: Any, key: Any, grammar: Grammar, dice: random.Random) -> None:
    holder[key] = [holder[key]] * dice.choice([2, 70, 300])


def _as_text(holder: Any, key: Any, grammar: Grammar, dice: random.Random) -> None:
    holder[key] = json.dumps(holder[key])


_WAYS: list[Callable[[Any, Any, Grammar, random.Random], None]] = [
    _other,
    _other,
    _out_of_bounds,
    _removed,
    _added,
    _added,
    _renamed,
    _wrapped,
    _repeated,
    _as_text,
]
