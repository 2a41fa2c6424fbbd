"""Which of a conversation's messages to leave out when it no longer fits."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from workers.llm.engines import Message, Prompt, PromptError


def attempts(
    prompt: Prompt, context_tokens: int, tokens: Callable[[list[Message]], int]
) -> Iterator[tuple[list[Message], int]]:
    """The conversation in ever shorter versions, each with the most tokens it may be: the first
    that is no longer is the one to answer. If none is, the `refusal` says so.

    `tokens` counts messages in the model's tokens.
    """
    truncation = prompt.truncation
    whole, *shorter = shortened(prompt.messages, block=context_tokens)
    longest = context_tokens - min(prompt.max_tokens, context_tokens // 2)
    if truncation.tokens is not None:
        instructions = [message for message in whole if message.role == "system"]
        longest = min(longest, truncation.tokens + tokens(instructions))
    yield whole, longest
    if truncation.retain is not None:
        for messages in shorter[:-1]:
            yield messages, int(truncation.retain * longest)
        yield (shorter[-1] if shorter else whole), context_tokens - 1


def refusal(prompt: Prompt, problem: str) -> PromptError:
    """Why a conversation of which no attempt is short enough is not answered."""
    if prompt.truncation.retain is None:
        return PromptError(f"messages: the conversation is too long: {problem}")
    return PromptError(f"messages: the instructions and the last question: {problem}")


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
