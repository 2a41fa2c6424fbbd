"""What the engines for tests say, and which functions they call."""

import json
import zlib
from typing import Any

import numpy as np
import pytest

from shared.audio import Int16
from shared.messages import Tool
from shared.settings import Settings
from workers.llm.engines import Call, Completion, Delta, Message, Prompt
from workers.llm.engines import create as create_llm
from workers.stt.engines import Utterance
from workers.stt.engines import create as create_stt
from workers.tts.engines import Speech, TtsEngine
from workers.tts.engines import create as create_tts

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer", "minimum": 2},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
        "inner": {
            "type": "object",
            "properties": {"ratio": {"type": "number"}, "note": {"type": "string"}},
            "required": ["ratio"],
        },
        "extra": {"type": "string"},
    },
    "required": ["text", "count", "kind", "tags", "inner"],
}
TOOLS = (Tool(name="note", parameters=json.dumps(SCHEMA)), Tool(name="ring-bell_2"))
LOOK = (
    Message("user", "Look."),
    Message("assistant", "", calls=(Call("look", "{}", call_id="1"),)),
    Message("tool", "fog", name="look", call_id="1"),
)


async def answer(
    *messages: Message | str, **options: Any
) -> tuple[str, list[tuple[str, Any]], Completion]:
    told = [Message("user", m) if isinstance(m, str) else m for m in messages]
    engine = create_llm(Settings(llm_engine="instant"))
    prompt = Prompt(told, **{"tools": TOOLS, **options})
    *steps, completion = [step async for step in engine.stream(prompt)]
    assert isinstance(completion, Completion)
    words = "".join(step.text for step in steps if isinstance(step, Delta))
    calls = [(step.name, json.loads(step.arguments)) for step in steps if isinstance(step, Call)]
    return words, calls, completion


async def test_a_forced_call_has_the_least_arguments() -> None:
    words, calls, completion = await answer("Hello.", choice="required")
    least = {
        "text": "Hello.",
        "count": 2,
        "kind": "a",
        "tags": [True, True],
        "inner": {"ratio": 0},
    }
    assert (words, calls) == ("", [("note", least)])
    assert (completion.finish, completion.completion_tokens) == ("stop", 1)


@pytest.mark.parametrize(
    ("question", "parallel", "called", "speaks"),
    [
        ("What is it?", True, [], True),
        ("Please call me.", True, [], True),
        ("Please call ring-bell_2.", True, ["ring-bell_2"], False),
        ("call ring-bell_2 and call note", True, ["ring-bell_2", "note"], False),
        ("call ring-bell_2 and call note", False, ["ring-bell_2"], False),
        ("Answer, then call ring-bell_2", True, ["ring-bell_2"], True),
    ],
)
async def test_it_calls_what_the_message_names(
    question: str, parallel: bool, called: list[str], speaks: bool
) -> None:
    words, calls, _ = await answer(question, parallel=parallel)
    assert [name for name, _ in calls] == called
    assert words == (f"You said: {question}. That is all I know about it." if speaks else "")


async def test_it_calls_nothing_if_it_must_not() -> None:
    words, calls, _ = await answer("call note", choice="none")
    assert (words, calls) == ("You said: call note. That is all I know about it.", [])


async def test_it_says_what_the_function_returned() -> None:
    assert (await answer(*LOOK))[0] == "The function said: fog."
    sun = Message("tool", "sun", name="look", call_id="2")
    assert (await answer(*LOOK, sun))[0] == "The function said: fog. sun."
    later = await answer(*LOOK, "Well?")
    assert later[0] == "You said: Well?. That is all I know about it."


async def test_it_goes_on_to_the_call_after_what_was_said() -> None:
    said = "You said: Speak, then call ring-bell_2. That"
    words, calls, _ = await answer("Speak, then call ring-bell_2", prefix=said)
    assert words == " is all I know about it."
    assert [name for name, _ in calls] == ["ring-bell_2"]


async def test_a_call_that_does_not_fit_is_cut() -> None:
    engine = create_llm(Settings(llm_engine="instant"))
    prompt = Prompt([Message("user", "Hi.")], tools=TOOLS, choice="required", max_tokens=0)
    [call, completion] = [step async for step in engine.stream(prompt)]
    assert call == Call("note", "{", complete=False)
    assert completion == Completion("length", 1, 0)


@pytest.mark.parametrize("name", ["instant", "paced"])
async def test_instant_repeats_the_question_exactly_from_the_prefix_on(name: str) -> None:
    engine = create_llm(Settings(llm_engine=name, paced_token_ms=0))
    whole = "You said: hello there. That is all I know about it."
    for cut in range(len(whole) + 1):
        prompt = Prompt([Message("user", "hello there")], prefix=whole[:cut])
        *deltas, _ = [step async for step in engine.stream(prompt)]
        text = "".join(step.text for step in deltas if isinstance(step, Delta))
        assert whole[:cut] + text == whole


def test_what_was_heard_tells_which_audio_it_was() -> None:
    engine = create_stt(Settings(stt_engine="instant"))
    audio = [np.arange(4, dtype=np.int16), np.zeros(0, np.int16)]
    heard = engine.transcribe([Utterance(pcm) for pcm in audio])
    assert [t.text for t in heard] == ["utterance of 4 samples crc 2f5a9784", ""]


def say(engine: TtsEngine, text: str, rate: int) -> Int16:
    spoken = engine.synthesize(Speech(text, voice=None, speed=1.0, sample_rate=rate))
    return np.concatenate([np.zeros(0, np.int16), *spoken])


@pytest.mark.parametrize("name", ["instant", "paced"])
def test_samples_of_instant_tell_their_text_and_their_position(name: str) -> None:
    engine = create_tts(Settings(tts_engine=name, paced_tts_speed=1_000))
    audio = say(engine, "hello there", 8_000)
    assert len(audio) == 11 * 160
    low, high, number, thousands = audio.view(np.uint16).reshape(-1, 4).T
    assert set(low + 65_536 * high.astype(int)) == {zlib.crc32(b"hello there")}
    assert (number == np.arange(440)).all()
    assert not thousands.any()


def test_samples_of_instant_tell_their_position_however_long_the_text() -> None:
    engine = create_tts(Settings(tts_engine="instant"))
    audio = say(engine, "x" * 701, 22_050).view(np.uint16)
    assert len(audio) == 701 * 441
    groups = audio[: len(audio) // 4 * 4].reshape(-1, 4).astype(int)
    assert (groups[:, 2] + 65_536 * groups[:, 3] == np.arange(len(groups))).all()
    assert len(groups) > 65_536
