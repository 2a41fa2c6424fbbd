"""What a client throws at its session: frames that are malformed, and good ones out of turn.

Whatever draws like `random.Random` may draw them, Hypothesis too. No I/O.
"""

import base64
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.fuzz.grammar import Grammar, noise
from bench.fuzz.spoiling import mangled, spoiled

Kind = Literal["spoiled", "mangled", "binary", "large", "wire", "valid"]

_WEIGHTS: dict[Kind, int] = {"spoiled": 55, "mangled": 25, "binary": 4, "valid": 16}
_LARGE = 1 / 4_000
_MOST_AUDIO_BYTES = 15 * 2**20

# Good events that meet each other where they should not.
_STORMS = [
    ["input_audio_buffer.append", "input_audio_buffer.commit"],
    ["input_audio_buffer.commit", "input_audio_buffer.clear"],
    ["input_audio_buffer.commit", "response.create", "response.cancel"],
    ["conversation.item.create", "conversation.item.delete", "conversation.item.retrieve"],
    ["response.create", "conversation.item.truncate", "output_audio_buffer.clear"],
    ["response.create"],
    ["response.cancel", "response.create"],
    ["session.update", "input_audio_buffer.append"],
    ["conversation.item.create", "response.create"],
]
_LONGEST_STORM = 12


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame: text as str, binary as bytes; `kind` is how it came about."""

    kind: Kind
    data: str | bytes

    @property
    def malformed(self) -> bool:
        """Whether it was made to be wrong, and not only to come at the wrong time."""
        return self.kind != "valid"


def frame(dice: random.Random, ids: Sequence[str] = ()) -> Frame:
    """One frame."""
    kind = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    grammar = Grammar(dice, ids)
    if kind == "binary":
        return Frame(kind, noise(dice, dice.choice([0, 1, 2, 125, 126, 960, 65_536])))
    if kind == "mangled":
        return Frame(kind, mangled(grammar.event(), dice))
    event = grammar.event()
    if kind == "spoiled":
        event = spoiled(event, grammar, dice)
    return Frame(kind, json.dumps(event, ensure_ascii=dice.random() < 0.5))


def storm(dice: random.Random, ids: Sequence[str] = ()) -> Iterator[Frame]:
    """Good events over and over, that race each other."""
    grammar = Grammar(dice, ids)
    kinds = dice.choice(_STORMS)
    for number in range(dice.randrange(2, _LONGEST_STORM)):
        event = grammar.event(kinds[number % len(kinds)])
        if event["type"] == "response.create" and dice.random() < 0.7:
            event["response"] = {"conversation": dice.choice(["none", "auto"])}
        yield Frame("valid", json.dumps(event))


def large(dice: random.Random) -> Frame:
    """A frame around the bounds on an append's size, or of very many small things."""
    append = '{"type":"input_audio_buffer.append","audio":"%s"}'
    create = (
        '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":%s}}'
    )
    match dice.randrange(5):
        case 0:
            size = _MOST_AUDIO_BYTES + dice.choice([1, 2, 1000])
            return Frame("large", append % base64.b64encode(bytes(size)).decode())
        case 1:
            return Frame("large", append % ("*" * 20_000_000))
        case 2:
            return Frame("large", create % ("[" + "1," * 5_000_000 + "1]"))
        case 3:
            return Frame("large", create % ("[" + '{"type":"input_text"},' * 500_000 + "1]"))
        case _:
            return Frame("large", '{"type":"' + "x" * 10_000_000 + '"}')


def burst(dice: random.Random, ids: Sequence[str] = ()) -> list[Frame]:
    """Frames that are thrown without waiting for an answer."""
    if dice.random() < 0.1:
        return list(storm(dice, ids))
    frames = [frame(dice, ids) for _ in range(dice.randrange(1, 17))]
    if dice.random() < len(frames) * _LARGE:
        frames.append(large(dice))
    return frames
