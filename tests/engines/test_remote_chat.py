"""What servers of conversations differ in, and what an engine makes of it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from shared.messages import Truncation
from shared.remote import RemoteError
from shared.settings import Settings
from tests.engines.asking import INSTRUCTIONS, answer, ask, long_conversation
from tests.stages import until
from tests.support.chat_server import (
    MODEL,
    STREAM,
    chat_app,
    event,
    llama_server,
    says,
    usage,
    words,
)
from tests.support.chatting import asked, chatting, listen
from tests.support.http import Faulty, cut_off, repeats, replies
from workers.llm.engines import Completion, Message, Prompt, PromptError
from workers.llm.engines.remote import RemoteEngine

TOO_LONG = {
    "vLLM": (400, "This model's maximum context length is 256 tokens. However, you requested 900"),
    "vLLM, newer": (400, "The decoder prompt (length 900) is longer than the maximum model length"),
    "SGLang": (400, "The input (900 tokens) is longer than the model's context length (256)."),
    "llama.cpp": (400, "request (900 tokens) exceeds the available context size (256 tokens)"),
    "TGI": (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 256."),
}


@pytest.fixture
def server() -> Faulty:
    return Faulty(chat_app())


@pytest.fixture
async def engine(server: Faulty) -> AsyncIterator[RemoteEngine]:
    """On a server that closes every message, as most do."""
    async with chatting(server) as loaded:
        yield loaded


@pytest.fixture
async def continuing(server: Faulty) -> AsyncIterator[RemoteEngine]:
    """On a server that goes on with the assistant's message that comes last."""
    server.app = chat_app(end_of_turn_tokens=0)
    async with chatting(server) as loaded:
        yield loaded


async def test_what_is_asked(engine: RemoteEngine, server: Faulty) -> None:
    server.faults.append(says(words("Hello", "stop"), usage(9, 1, 7)))
    text, completion = await answer(engine, ask("Hi.", temperature=0.5))
    assert (text, completion) == ("Hello", Completion("stop", 9, 1, 7))
    assert asked(server) == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": INSTRUCTIONS.content},
            {"role": "user", "content": "Hi."},
        ],
        "max_tokens": 16,
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_who_speaks_twice_in_a_row_is_told_once(engine: RemoteEngine, server: Faulty) -> None:
    server.faults.append(says(words("Hello", "stop")))
    said = [Message("user", "Hi."), Message("user", ""), Message("user", "Are you there?")]
    await answer(engine, Prompt(said))
    assert asked(server)["messages"] == [{"role": "user", "content": "Hi.\nAre you there?"}]


async def test_a_server_that_counts_nothing_sends_a_token_a_chunk(
    engine: RemoteEngine, server: Faulty
) -> None:
    server.faults.append(says(words("a"), words("b"), words("", "length")))
    _, completion = await answer(engine, ask("Hi."))
    assert completion == Completion("length", 0, 2)


@pytest.mark.parametrize(
    "spoken",
    [
        ["<think>I must say", " hi.</think>\n\nHello."],
        ["\n<", "thi", "nk>x</th", "ink>", "Hello."],
        ["<think></think><think>again</think>Hello", "."],
        ["Hello."],
    ],
)
async def test_what_a_model_thinks_is_not_said(
    engine: RemoteEngine, server: Faulty, spoken: list[str]
) -> None:
    server.faults.append(
        says(words("", reasoning_content="Hm."), *map(words, spoken), words("", "stop"))
    )
    assert (await answer(engine, ask("Hi.")))[0] == "Hello."


@pytest.mark.parametrize(
    ("spoken", "said"), [("<think>On and on", ""), ("<b>Hello", "<b>Hello"), ("  <th", "  <th")]
)
async def test_an_answer_may_end_before_a_thought_does(
    engine: RemoteEngine, server: Faulty, spoken: str, said: str
) -> None:
    server.faults.append(says(words(spoken), words("", "length")))
    assert (await answer(engine, ask("Hi.")))[0] == said


# --- going on with an answer ---


@pytest.mark.parametrize(
    ("prefix", "more", "said"),
    [
        ("One, two,", [" three"], " three"),
        ("One, two, ", [" three"], "three"),
        ("One, tw", ["o, three"], "o, three"),
        ("One, two,", ["One", ", two, three"], " three"),
    ],
)
async def test_a_server_that_can_goes_on(
    continuing: RemoteEngine, server: Faulty, prefix: str, more: list[str], said: str
) -> None:
    server.faults.append(says(*map(words, more), words("", "stop")))
    assert (await answer(continuing, ask("Count.", prefix=prefix)))[0] == said
    body = asked(server)
    assert body["messages"][-1] == {"role": "assistant", "content": prefix.rstrip()}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize(
    ("prefix", "more", "said"),
    [
        ("One, two,", ["three"], " three"),
        ("One, two", [", three"], ", three"),
        ("One, two ", ["three"], "three"),
        ("One, two,", ["One, t", "wo,", " three"], " three"),
        ("One, two,", ["One, two, ", "three"], " three"),
        ("一、二、", ["三"], "三"),
        ("One, two,", ["One"], " One"),
        ("One, two.", [], ""),
    ],
)
async def test_a_server_that_cannot_is_asked_to(
    engine: RemoteEngine, server: Faulty, prefix: str, more: list[str], said: str
) -> None:
    server.faults.append(says(*map(words, more), words("", "stop")))
    assert (await answer(engine, ask("Count.", prefix=prefix)))[0] == said
    *_, begun, wish = asked(server)["messages"]
    assert begun == {"role": "assistant", "content": prefix.rstrip()}
    assert wish["role"] == "user"
    assert "continue_final_message" not in asked(server)


async def test_fields_that_a_server_refuses_are_not_sent_again(server: Faulty) -> None:
    refusal = b'{"error": {"message": "Unrecognized request argument", "code": null}}'
    refuses = replies(400, refusal, content_type="application/json")
    server.faults.extend([chat_app(), refuses])
    async with chatting(server) as engine:
        server.faults.append(says(words("three", "stop")))
        await answer(engine, ask("Count.", prefix="One, two,"))
    assert "continue_final_message" not in asked(server)


async def test_a_server_that_wants_the_limit_by_its_new_name_gets_it(server: Faulty) -> None:
    refusal = {"error": {"message": "Unsupported parameter: use 'max_completion_tokens'."}}
    refused = replies(400, json.dumps(refusal).encode(), content_type="application/json")
    server.faults.append(refused)
    async with chatting(server) as engine:
        server.faults.append(says(words("Hello", "stop")))
        await answer(engine, ask("Hi."))
    assert asked(server)["max_completion_tokens"] == 16
    assert "max_tokens" not in asked(server)


# --- conversations that are too long ---


@pytest.mark.parametrize("server_kind", TOO_LONG)
async def test_a_conversation_that_is_too_long_is_shortened(
    engine: RemoteEngine, server: Faulty, server_kind: str
) -> None:
    status, message = TOO_LONG[server_kind]
    body = {"error": message, "error_type": "validation"} if status == 422 else {"message": message}
    refusal = replies(status, json.dumps(body).encode(), content_type="application/json")
    server.faults.extend([refusal, refusal, says(words("Paris.", "stop"))])
    assert (await answer(engine, Prompt(long_conversation())))[0] == "Paris."
    lengths = [len(asked(server, number)["messages"]) for number in range(3)]
    assert lengths[0] > lengths[1] > lengths[2] >= 2
    for number in range(3):
        first, *_, last = asked(server, number)["messages"]
        assert (first["role"], last["content"]) == ("system", "What is the capital of France?")


async def test_the_code_alone_tells_that_it_is_too_long(
    engine: RemoteEngine, server: Faulty
) -> None:
    body = b'{"error": {"message": "Please think again.", "code": "context_length_exceeded"}}'
    server.faults.extend([replies(400, body, content_type="application/json")] * 99)
    with pytest.raises(PromptError, match="messages: the instructions and the last question"):
        await answer(engine, Prompt(long_conversation()))
    assert len(server.posted) < 20
    assert len(asked(server)["messages"]) == 2


async def test_a_limit_of_the_clients_is_estimated(engine: RemoteEngine, server: Faulty) -> None:
    server.faults.append(says(words("Paris.", "stop")))
    await answer(engine, Prompt(long_conversation(), truncation=Truncation(tokens=100, retain=0.8)))
    said = [message["content"] for message in asked(server)["messages"][1:]]
    assert 40 < sum(map(len, said)) <= 320
    with pytest.raises(PromptError, match="the conversation is too long: 100 tokens fit"):
        await answer(
            engine, Prompt(long_conversation(), truncation=Truncation(tokens=100, retain=None))
        )


# --- errors, and ends ---


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_what_would_be_refused_again_is_the_prompts_fault(
    engine: RemoteEngine, server: Faulty, status: int
) -> None:
    server.faults.append(replies(status, b"no"))
    with pytest.raises(PromptError, match=f"PARLEY_LLM_URL answered {status}: no"):
        await answer(engine, ask("Hi."))
    assert len(server.posted) == 1


@pytest.mark.parametrize(
    ("code", "raised"), [(400, PromptError), (500, RemoteError), (None, RemoteError)]
)
async def test_an_error_in_the_middle_of_an_answer_ends_it(
    engine: RemoteEngine, server: Faulty, code: int | None, raised: type[Exception]
) -> None:
    error = {"error": {"message": "out of memory", "code": code}}
    server.faults.append(says(words("Hel"), error))
    said: list[str] = []
    with pytest.raises(raised, match="out of memory"):
        await listen(engine, ask("Hi."), said)
    assert said == ["Hel"]


@pytest.mark.parametrize(
    "fault",
    [
        cut_off(event(words("Hel")), content_type=STREAM),
        says(words("Hel")),
        says(words("Hel"), done=False),
        says(words("Hel"), {"choices": [{"delta": {"content": 7}}]}),
    ],
)
async def test_what_was_said_is_not_said_again_by_the_same_attempt(
    engine: RemoteEngine, server: Faulty, fault: Any
) -> None:
    server.faults.append(fault)
    said: list[str] = []
    with pytest.raises(RemoteError):
        await listen(engine, ask("Hi."), said)
    assert said == ["Hel"]
    assert len(server.posted) == 1


@pytest.mark.parametrize("how", ["closed", "cancelled", "engine"])
async def test_a_server_sees_at_once_that_nobody_listens(
    engine: RemoteEngine, server: Faulty, how: str
) -> None:
    gone, begun = threading.Event(), asyncio.Event()
    server.faults.append(repeats(event(words("so ")), 0.01, gone, content_type=STREAM))

    async def hear_some() -> None:
        async with aclosing(engine.stream(ask("Hi."))) as stream:
            async for _ in stream:
                begun.set()
                if how == "closed":
                    return

    listener = asyncio.create_task(hear_some())
    await begun.wait()
    if how == "cancelled":
        listener.cancel()
    elif how == "engine":
        await asyncio.to_thread(engine.close)
    (end,) = await asyncio.gather(listener, return_exceptions=True)
    await until(gone.is_set)
    if how == "engine":
        assert str(end) == "the openai engine was closed"


async def test_llama_cpp_stops_when_nobody_listens() -> None:
    with llama_server(slots=1) as url:
        engine = RemoteEngine(Settings(llm_url=url, llm_model=MODEL))
        await asyncio.to_thread(engine.load)
        async with aclosing(engine.stream(ask("Tell a story.", max_tokens=2_000))) as stream:
            await anext(stream)
        # It has one slot: whoever comes next would wait for two thousand tokens.
        text, _ = await answer(engine, ask("What is the capital of France?", max_tokens=64))
        assert "France" in text
        await asyncio.to_thread(engine.close)


async def test_llama_cpp_goes_on_in_the_middle_of_a_sentence() -> None:
    with llama_server(slots=1) as url:
        engine = RemoteEngine(Settings(llm_url=url, llm_model=MODEL))
        await asyncio.to_thread(engine.load)
        for prefix, more in (("One, two, three,", " four"), ("One, two, three, ", "four")):
            text, _ = await answer(engine, ask("Count to ten.", prefix=prefix))
            assert text.startswith(more)
        await asyncio.to_thread(engine.close)
