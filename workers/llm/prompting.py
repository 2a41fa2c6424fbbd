"""What the model is given to answer."""

import json
from collections.abc import Iterable, Sequence

from babel import Locale

from shared.broker import Pipe
from shared.keys import SessionKeys
from shared.messages import (
    AnyItem,
    FunctionCall,
    FunctionOutput,
    Item,
    LlmJob,
    SessionConfig,
    decode,
)
from shared.settings import Settings
from workers.llm.engines import Call, Message, Prompt

_LANGUAGES = Locale("en").languages


def language_of(config: SessionConfig, items: Sequence[AnyItem]) -> str | None:
    """The language of an answer to `items`, as an ISO 639-1 code: the session's own, else the one
    that the user spoke last; None where neither is known."""
    spoken = (item.language for item in reversed(items) if isinstance(item, Item))
    return config.language or next(filter(None, spoken), None)


def prompt_for(
    job: LlmJob,
    config: SessionConfig,
    settings: Settings,
    items: Iterable[AnyItem],
    prefix: str,
    language: str | None = None,
) -> Prompt:
    """The prompt for a response to `items`, in `language`: what the response does not say itself
    is as the session says, and what that does not say as the server's settings do."""
    tooling = config.tooling if job.tooling is None else job.tooling
    longest = settings.llm_max_tokens
    wanted = job.max_output_tokens or config.max_output_tokens or longest
    return Prompt(
        messages=[*_instructions(job, config, settings, language), *messages_of(items)],
        prefix=prefix,
        max_tokens=min(wanted, longest),
        tools=tuple(tooling.tools),
        choice=tooling.choice,
        parallel=tooling.parallel,
        truncation=config.truncation,
    )


async def conversation(
    pipe: Pipe, session: SessionKeys, job: LlmJob, after: str
) -> Sequence[AnyItem]:
    """The items that a response answers, oldest first: those it was given, else the conversation
    up to the item `after`, "" for none; all but its own if that one is gone."""
    if job.input is not None:
        return [await _heard(pipe, session, item) for item in job.input]
    if not after:
        return []
    return await history(pipe, session, after, job.item_id)


async def history(
    pipe: Pipe, session: SessionKeys, after: str = "", but: str = ""
) -> Sequence[AnyItem]:
    """The conversation up to the item `after`, or all of it if that is not there, without the item
    `but`."""
    ids = [found.decode() for found in await pipe.command("LRANGE", session.order, 0, -1)]
    ids = ids[: ids.index(after) + 1] if after in ids else ids
    ids = [item_id for item_id in ids if item_id != but]
    if not ids:
        return []
    saved = await pipe.command("HMGET", session.items, *ids)
    return [decode(data, AnyItem) for data in saved if data is not None]  # type: ignore[arg-type]


async def _heard(pipe: Pipe, session: SessionKeys, item: AnyItem) -> AnyItem:
    """The item with its words, which may have been transcribed since the response was asked for."""
    if not isinstance(item, Item) or item.pending is None:
        return item
    saved = await pipe.command("HGET", session.items, item.item_id)
    return item if saved is None else decode(saved, Item)


def messages_of(items: Iterable[AnyItem]) -> list[Message]:
    """A conversation as the model sees it.

    What has no words yet is left out. So is a call without an output, and an output without a
    call; both come where the output is, and outputs in a row come after all their calls.
    """
    messages: list[Message] = []
    calls: dict[str, FunctionCall] = {}
    outputs: list[tuple[Call, str]] = []
    for item in items:
        if isinstance(item, FunctionOutput):
            call = calls.pop(item.call_id, None)
            if call is not None:
                told = Call(call.name, call.arguments, call_id=call.call_id)
                outputs.append((told, item.output))
            continue
        _tell(outputs, messages)
        outputs = []
        if isinstance(item, Item):
            messages += [Message(item.role, item.text)] if item.text else []
        elif _is_json(item.arguments):
            calls[item.call_id] = item
    _tell(outputs, messages)
    return messages


def _instructions(
    job: LlmJob, config: SessionConfig, settings: Settings, language: str | None
) -> list[Message]:
    """The response's own, else the session's, else the server's, "" for none at all; and which
    language to answer in."""
    given = (job.instructions, config.instructions, settings.instructions)
    text = next(text for text in given if text is not None)
    name = _LANGUAGES.get(language or "")
    told = "\n".join(filter(None, (text, f"Answer in {name}." if name else "")))
    return [Message("system", told)] if told else []


def _tell(outputs: list[tuple[Call, str]], messages: list[Message]) -> None:
    """Adds calls to `messages`, and what came of them; what was said before goes with them."""
    if outputs:
        said = ""
        if messages and messages[-1].role == "assistant":
            said = messages.pop().content
        messages.append(Message("assistant", said, calls=tuple(call for call, _ in outputs)))
    for call, output in outputs:
        messages.append(Message("tool", output, name=call.name, call_id=call.call_id))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
