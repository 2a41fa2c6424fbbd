"""Which of a conversation's messages to leave out when it no longer fits."""

from collections.abc import Sequence
from itertools import accumulate

from workers.llm.engines import Message


def shortened(messages: Sequence[Message], block: int) -> list[list[Message]]:
    """The conversation whole, then without ever more of its oldest turns.

    System messages and everything from the last user message on are in all of them; every other
    turn is left out as a whole. Cuts are `block` or more characters apart: turn after turn of a
    growing conversation is cut at the same place, so that the beginning the model has read
    already stays good, until the next block must go.
    """
    system = [message for message in messages if message.role == "system"]
    spoken = [message for message in messages if message.role != "system"]
    ends = [0, *accumulate(_length(message) for message in spoken)]
    versions = [list(messages)]
    cut_at = 0
    turns = [index for index, message in enumerate(spoken) if message.role == "user"]
    for index in turns:
        if index and (ends[index] - cut_at >= block or index == turns[-1]):
            versions.append([*system, *spoken[index:]])
            cut_at = ends[index]
    return versions


def _length(message: Message) -> int:
    return len(message.content) + sum(len(call.arguments) for call in message.calls)
