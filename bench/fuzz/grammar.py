"""Events as a client may send them, from the types of the official `openai` package. No I/O."""

import base64
import random
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from openai.types.realtime import RealtimeClientEvent
from pydantic import BaseModel

Json = dict[str, Any]

EVENTS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(RealtimeClientEvent)[0])
}
"""The official model of each event, by the event's type."""

MARK = "Fuzzed"
"""In every text, so that it is known again where it should not be."""

TEXTS = [
    "",
    MARK,
    f"{MARK} says hello",
    f"\n12:00:00 gateway  {MARK} wrote this line\n",
    f"\r\n{MARK}\x1b[31m\x00\x07\x7f\u2028\u0085",
    f"{MARK}]] redis.call('FLUSHALL') --",
    f"{MARK}\r\nFLUSHALL\r\n",
    f"parley:{{0}}:session:{MARK}",
    f"../../../../etc/passwd#{MARK}",
    f"{MARK} %s %n {{}} {{0.__class__}} ${{jndi:x}} `id` ' \" \\",
    f"{MARK} \U0001f468\u200d\U0001f469 \u202eesrever \ufeff \U0010ffff",
    "root",
    "auto",
    "none",
    "inf",
    "null",
    "0-0",
    "$",
    "*",
    MARK * 100,
    MARK * 8_000,
]
NUMBERS = [0, 1, -1, 2, 4_096, 4_097, 30_000, 2**31, 2**53, 2**63, 2**64, -(2**64), 10**40]
FRACTIONS = [0.0, -0.0, 0.5, 1.0, 1.5, -1.5, 1e-320, 1e308]

# What a gateway resamples to 16 kHz, and more than one commit needs.
_MOST_SAMPLES = 9_600
_DEEPEST = 4


def noise(dice: random.Random, size: int) -> bytes:
    """Bytes that follow from one draw: who shrinks what was drawn need not look at each of them."""
    return random.Random(dice.getrandbits(32)).randbytes(size)


class Grammar:
    """Draws events. `ids` are those of items and responses that are or were somebody's."""

    def __init__(self, dice: random.Random, ids: Sequence[str]) -> None:
        self._dice = dice
        self._ids = ids

    def event(self, kind: str | None = None) -> Json:
        """An event that its official type allows."""
        model = EVENTS[kind or self._dice.choice(sorted(EVENTS))]
        return self._object(model)

    def text(self) -> str:
        """A text that somebody may take for something else."""
        return self._dice.choice(TEXTS)

    def name(self) -> str:
        """An id: of something that is there, of somebody else's, or of nothing."""
        return self._dice.choice([*self._ids, *TEXTS[:-1]])

    def json(self, depth: int = 0) -> Any:
        """Anything."""
        dice = self._dice
        match dice.randrange(8 if depth < _DEEPEST else 5):
            case 0:
                return None
            case 1:
                return dice.choice([True, False])
            case 2:
                return dice.choice(NUMBERS)
            case 3:
                return dice.choice(FRACTIONS)
            case 4:
                return self.text()
            case 5:
                return [self.json(depth + 1) for _ in range(dice.randrange(4))]
            case _:
                return {self.text(): self.json(depth + 1) for _ in range(dice.randrange(4))}

    def _object(self, model: type[BaseModel]) -> Json:
        return {
            name: self._value(field.annotation, name)
            for name, field in model.model_fields.items()
            if field.is_required() or self._dice.random() < 0.3
        }

    def _value(self, kind: Any, name: str) -> Any:
        """A value that the annotation `kind` of the field `name` allows."""
        origin, args = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._value(args[0], name)
        if origin in (Union, UnionType):
            return self._value(self._dice.choice(args), name)
        if origin is Literal:
            return self._dice.choice(args)
        if origin is list:
            return [self._value(args[0], name) for _ in range(self._dice.randrange(4))]
        if origin is dict:
            pairs = range(self._dice.randrange(4))
            return {self.text(): self._value(args[1], name) for _ in pairs}
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return self._object(kind)
        return self._scalar(kind, name)

    def _scalar(self, kind: Any, name: str) -> Any:
        dice = self._dice
        if kind is NoneType:
            return None
        if kind is bool:
            return dice.choice([True, False])
        if kind is int:
            return dice.choice(NUMBERS)
        if kind is float:
            return dice.choice(FRACTIONS)
        if kind is not str:
            return self.json()
        if name == "audio":
            return self._audio()
        return self.name() if name == "id" or name.endswith("_id") else self.text()

    def _audio(self) -> str:
        """Noise: of an odd number of bytes as often as not."""
        size = self._dice.choice([0, 1, 2, 3, 959, 960, self._dice.randrange(2 * _MOST_SAMPLES)])
        return base64.b64encode(noise(self._dice, size)).decode()
