"""Turn by turn, at a running gateway: every event in its place, every id linked."""

import asyncio
import base64

import numpy as np

from tests.gateway.realtime_client import RATE, SILENCE, Client, Json, joined, sound
from tests.gateway.running import Gateway

TEXT: Json = {"output_modalities": ["text"]}
WORDS = {"model": "whisper-1"}
PUSH_TO_TALK: Json = {"audio": {"input": {"turn_detection": None, "transcription": WORDS}}}
TURN = np.concatenate([sound(0.6), SILENCE])
SLOW: Json = {"audio": {"output": {"speed": 0.25}}}


def encoded(seconds: float) -> str:
    return base64.b64encode(sound(seconds).tobytes()).decode()


def spoken_part(seconds: float) -> Json:
    return {"type": "input_audio", "audio": encoded(seconds)}


def heard(seconds: float) -> str:
    """What the recogniser makes of so much of anything."""
    return f"utterance of {round(16_000 * seconds)} samples"


def text_of(response: Json) -> str:
    [item] = response["output"]
    [part] = item["content"]
    text: str = part.get("text") or part["transcript"]
    return text


def outline(events: list[Json]) -> list[str]:
    """The kinds of events in order, each once in a row."""
    kinds = [event["type"] for event in events]
    return [kind for n, kind in enumerate(kinds) if kinds[n - 1 : n] != [kind]]


def without(events: list[Json], *words: str) -> list[Json]:
    return [event for event in events if not any(word in event["type"] for word in words)]


ANSWER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
ANSWERED = [
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


async def test_a_spoken_turn_in_the_order_that_is_documented(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(audio={"input": {"transcription": WORDS}})
        client.seen.clear()
        await client.append(TURN)
        response = (await client.until("response.done"))["response"]
        seen = without(client.seen, "transcription", "rate_limits", "output_audio")
        assert outline(seen) == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            *ANSWER,
            *ANSWERED,
        ]
        spoken = [event for event in client.seen if "output_audio" in event["type"]]
        assert outline(spoken)[0] == "response.output_audio_transcript.delta"
        assert outline(spoken)[-2:] == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
        ]
        said, answered = client.of("conversation.item.added")
        turns = [event for event in client.seen if "input_audio" in event["type"]]
        assert {event["item_id"] for event in turns} == {said["item"]["id"]}
        assert said["previous_item_id"] is None
        assert client.of("input_audio_buffer.committed")[0]["previous_item_id"] is None
        assert answered["previous_item_id"] == said["item"]["id"]
        answer = response["output"][0]["id"]
        for event in client.seen:
            if event["type"].startswith("response.") and "response" not in event:
                assert event["response_id"] == response["id"]
                assert event.get("item_id", answer) == answer
                assert event["output_index"] == event.get("content_index", 0) == 0
        [started] = client.of("input_audio_buffer.speech_started")
        [stopped] = client.of("input_audio_buffer.speech_stopped")
        assert 0 <= started["audio_start_ms"] < 600 <= stopped["audio_end_ms"] < 1_100
        assert response["usage"]["output_token_details"]["audio_tokens"] > 0


async def test_a_transcript_comes_with_its_usage_only_if_it_is_asked_for(served: Gateway) -> None:
    async with joined(served) as client:
        await client.append(TURN)
        await client.until("response.done")
        assert not [kind for kind in client.kinds if "transcription" in kind]
        await client.update(audio={"input": {"transcription": WORDS}})
        await client.append(TURN)
        done = await client.until("conversation.item.input_audio_transcription.completed")
        [delta] = client.of("conversation.item.input_audio_transcription.delta")
        assert (delta["item_id"], delta["delta"]) == (done["item_id"], done["transcript"])
        assert done["usage"]["type"] == "duration"
        await client.until("response.done")


async def test_a_written_turn_synthesises_nothing(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**TEXT)
        item = await client.say("Hello?")
        client.seen.clear()
        response = await client.answer()
        assert outline(without(client.seen, "rate_limits")) == [
            *ANSWER,
            "response.output_text.delta",
            "response.output_text.done",
            *ANSWERED,
        ]
        assert text_of(response) == "You said: Hello?. That is all I know about it."
        assert client.of("conversation.item.added")[0]["previous_item_id"] == item["id"]
        # no job for the synthesis was ever made
        [session] = served.hub._sessions
        jobs = await session._pipe.command("XINFO", "STREAM", session.keys.shard.jobs("tts"))
        fields = dict(zip(jobs[::2], jobs[1::2], strict=True))
        assert fields[b"last-generated-id"] == b"0-0"


async def test_a_message_may_mix_text_and_audio(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**TEXT, audio={"input": {"transcription": WORDS}})
        content = [{"type": "input_text", "text": "What is this?"}, spoken_part(0.5)]
        await client.send(
            "conversation.item.create",
            item={"type": "message", "role": "user", "content": content},
        )
        response = await client.answer()
        # the answer waited for the words
        assert heard(0.5) in text_of(response)
        assert "What is this?" in text_of(response)
        [words] = client.of("conversation.item.input_audio_transcription.completed")
        [item, _] = client.of("conversation.item.added")
        assert (words["item_id"], words["content_index"]) == (item["item"]["id"], 1)
        await client.send("conversation.item.retrieve", item_id=item["item"]["id"])
        got = (await client.until("conversation.item.retrieved"))["item"]
        assert got["content"][1]["transcript"].startswith(heard(0.5))


# --- functions ---

TOOLS = [
    {
        "type": "function",
        "name": name,
        "parameters": {
            "type": "object",
            "properties": {"what": {"type": "string"}},
            "required": ["what"],
        },
    }
    for name in ("look", "wait")
]


async def test_several_calls_and_their_outputs(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**TEXT, tools=TOOLS)
        question = await client.say("then call look and call wait")
        client.seen.clear()
        response = await client.answer()
        said, look, wait = response["output"]
        assert [item["type"] for item in response["output"]] == [
            "message",
            "function_call",
            "function_call",
        ]
        added = client.of("conversation.item.added")
        assert [event["item"]["id"] for event in added] == [said["id"], look["id"], wait["id"]]
        assert [event["previous_item_id"] for event in added] == [
            question["id"],
            said["id"],
            look["id"],
        ]
        done = client.of("response.function_call_arguments.done")
        assert [(event["name"], event["output_index"]) for event in done] == [
            ("look", 1),
            ("wait", 2),
        ]
        for call, seen in ((look, "fog"), (wait, "no")):
            output = {"call_id": call["call_id"], "output": seen}
            await client.put(type="function_call_output", **output)
        again = await client.answer()
        assert text_of(again) == "The function said: fog. no."


async def test_a_named_function_is_called_and_nothing_else(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(tools=TOOLS)
        await client.say("Hello?")
        choice = {"type": "function", "name": "wait"}
        response = await client.answer(tool_choice=choice)
        [call] = response["output"]
        assert (call["type"], call["name"], call["status"]) == (
            "function_call",
            "wait",
            "completed",
        )
        assert not client.of("response.content_part.added")


# --- barge-in ---


async def test_who_interrupts_is_answered_and_the_answer_is_cut_to_what_was_heard(
    served: Gateway,
) -> None:
    async with joined(served) as client:
        await client.update(**SLOW)
        await client.append(TURN)
        await client.until("response.output_audio.delta")
        client.seen.clear()
        await client.append(sound(0.6))
        done = await client.until("response.done")
        kinds = outline(without(client.seen, "output_audio.delta", "transcript.delta"))
        assert kinds[:7] == [
            "input_audio_buffer.speech_started",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        response = done["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        [item] = response["output"]
        assert item["status"] == "incomplete"
        place = {"item_id": item["id"], "content_index": 0}
        await client.send("conversation.item.truncate", **place, audio_end_ms=0)
        await client.until("conversation.item.truncated")
        await client.send("conversation.item.retrieve", item_id=item["id"])
        kept = (await client.until("conversation.item.retrieved"))["item"]
        assert (kept["status"], kept["content"][0]["transcript"]) == ("incomplete", "")
        # and the conversation goes on after it
        await client.append(SILENCE)
        committed = await client.until("input_audio_buffer.committed")
        assert committed["previous_item_id"] == item["id"]
        await client.until("response.created")
        await client.send("response.cancel")
        await client.until("response.done")


async def test_an_interruption_may_be_left_to_the_client(served: Gateway) -> None:
    async with joined(served) as client:
        detection = {"type": "server_vad", "interrupt_response": False, "create_response": False}
        audio = {"input": {"turn_detection": detection}, **SLOW["audio"]}
        await client.update(audio=audio)
        await client.append(TURN)
        await client.until("conversation.item.done")
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.append(TURN)
        await client.until("input_audio_buffer.committed")
        assert not client.of("response.done")
        await client.send("response.cancel")
        response = (await client.until("response.done"))["response"]
        assert response["status_details"]["reason"] == "client_cancelled"
        assert len(client.of("response.created")) == 1


# --- push-to-talk ---


async def question(client: Client, seconds: float) -> str:
    await client.append(sound(seconds))
    await client.send("input_audio_buffer.commit")
    return text_of(await client.answer())


async def test_a_commit_followed_at_once_by_a_request_is_what_is_answered(served: Gateway) -> None:
    async def converse(lengths: list[float]) -> None:
        async with joined(served) as client:
            await client.update(**PUSH_TO_TALK, **TEXT)
            for seconds in lengths:
                assert heard(seconds) in await question(client, seconds)

    first, second = [0.2 + n / 50 for n in range(8)], [0.9 - n / 50 for n in range(8)]
    await asyncio.gather(converse(first), converse(second))


async def test_what_follows_a_commit_comes_after_it(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**PUSH_TO_TALK)
        for _ in range(5):
            await client.append(sound(0.2))
            await client.send("input_audio_buffer.commit")
            item = await _said(client)
            committed = client.of("input_audio_buffer.committed")[-1]
            added = client.of("conversation.item.added")[-1]
            assert added["item"]["id"] == item["id"]
            assert added["previous_item_id"] == committed["item_id"]


async def _said(client: Client) -> Json:
    """Puts a message into the conversation, which comes after the turn that is committed."""
    await client.say("And this.")
    while client.of("conversation.item.done")[-1]["item"]["content"][0]["type"] != "input_text":
        await client.until("conversation.item.done")
    item: Json = client.of("conversation.item.done")[-1]["item"]
    return item


async def test_a_commit_of_too_little_is_refused_and_holds_up_nothing(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**PUSH_TO_TALK, **TEXT)
        await client.append(sound(0.09))
        await client.send("input_audio_buffer.commit", event_id="mine")
        await client.send("input_audio_buffer.clear")
        error = await client.error()
        assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")
        assert heard(0.3) in await question(client, 0.3)


async def test_a_byte_too_few_is_carried_over_to_the_next_append(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**PUSH_TO_TALK, **TEXT)
        audio = sound(0.3).tobytes()
        for part in (audio[:1], audio[1:1000], audio[1000:3333], b"", audio[3333:]):
            encoded = base64.b64encode(part).decode()
            await client.send("input_audio_buffer.append", audio=encoded)
        await client.send("input_audio_buffer.commit")
        assert heard(0.3) in text_of(await client.answer())


# --- sessions of another kind ---


async def test_an_answer_comes_to_who_is_silent_for_too_long(served: Gateway) -> None:
    async with joined(served) as client:
        detection = {"type": "server_vad", "idle_timeout_ms": 5_000}
        await client.update(**TEXT, audio={"input": {"turn_detection": detection}})
        await client.say("Hello?")
        await client.answer()
        await client.append(np.zeros(RATE, np.int16))
        client.seen.clear()
        done = await client.until("response.done")
        assert outline(without(client.seen, "rate_limits"))[:4] == [
            "input_audio_buffer.timeout_triggered",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        [triggered] = client.of("input_audio_buffer.timeout_triggered")
        [committed] = client.of("input_audio_buffer.committed")
        assert triggered["item_id"] == committed["item_id"]
        assert triggered["audio_start_ms"] <= triggered["audio_end_ms"]
        assert done["response"]["status"] == "completed"


async def test_a_session_that_only_transcribes(served: Gateway) -> None:
    async with joined(served, "?intent=transcription") as client:
        assert client.seen[0]["session"]["type"] == "transcription"
        await client.append(TURN)
        await client.until("conversation.item.input_audio_transcription.completed")
        await client.send("response.create")
        assert "a transcription session gives no responses" in (await client.error())["message"]
        await client.send("session.update", session={"type": "realtime", "instructions": "a"})
        await client.error()
        await client.update(type="transcription", audio={"input": {"turn_detection": None}})
        await client.send("input_audio_buffer.clear")
        await client.append(sound(0.3))
        await client.send("input_audio_buffer.commit")
        done = await client.until("conversation.item.input_audio_transcription.completed")
        assert done["transcript"].startswith(heard(0.3))
        assert not [kind for kind in client.kinds if kind.startswith("response")]
