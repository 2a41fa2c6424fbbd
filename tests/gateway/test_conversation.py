"""What a client does to its conversation and its responses, at a running gateway."""

import pytest

from tests.gateway.realtime_client import Client, Json, joined, resumed, sound
from tests.gateway.running import Gateway
from tests.gateway.test_turns import PUSH_TO_TALK, SLOW, TEXT, TURN, heard, question, text_of

STORY = "Tell me a very long story about a small boat, please."


async def refused(client: Client, kind: str, **fields: object) -> tuple[str, str | None]:
    """The code and the field of the error that a request brings."""
    await client.send(kind, event_id="mine", **fields)
    error = await client.error()
    assert error["event_id"] == "mine"
    return error["code"], error["param"]


# --- items ---


async def test_items_go_where_they_are_put(served: Gateway) -> None:
    async with joined(served) as client:
        for item_id, previous in [
            ("b", {}),
            ("e", {}),
            ("a", {"previous_item_id": None}),
            ("0", {"previous_item_id": "root"}),
            ("c", {"previous_item_id": "b"}),
            ("d", {"previous_item_id": "c"}),
            ("f", {}),
        ]:
            await client.say(item_id, id=item_id, previous=previous)
        places = {e["item"]["id"]: e["previous_item_id"] for e in client.of(ADDED)}
        assert places == {"b": None, "e": "b", "a": None, "0": None, "c": "b", "d": "c", "f": "e"}
        await client.send("conversation.item.delete", item_id="c")
        await client.until("conversation.item.deleted")
        await client.say("g", id="g", previous={"previous_item_id": "b"})
        await client.say("h", id="h", previous={"previous_item_id": "g"})
        assert client.of(ADDED)[-1]["previous_item_id"] == "g"
        [session] = served.hub._sessions
        order = await session._pipe.command("LRANGE", session.keys.order, 0, -1)
        assert [item.decode() for item in order] == list("0abghdef")


ADDED = "conversation.item.added"


async def test_items_that_are_not_there(served: Gateway) -> None:
    async with joined(served) as client:
        await client.say("Hello?", id="a")
        item = {"type": "message", "role": "user", "content": []}
        create = "conversation.item.create"
        place = {"content_index": 0, "audio_end_ms": 0}
        cases: list[tuple[str, Json, tuple[str, str]]] = [
            (create, {"item": {**item, "id": "a"}}, ("item_create_duplicate_item_id", "item.id")),
            (
                create,
                {"item": item, "previous_item_id": "b"},
                ("invalid_value", "previous_item_id"),
            ),
            (
                "conversation.item.delete",
                {"item_id": "b"},
                ("item_delete_invalid_item_id", "item_id"),
            ),
            (
                "conversation.item.retrieve",
                {"item_id": "b"},
                ("item_retrieve_invalid_item_id", "item_id"),
            ),
            (
                "conversation.item.truncate",
                {"item_id": "a", **place},
                ("item_truncate_invalid_item_id", "item_id"),
            ),
        ]
        for kind, fields, error in cases:
            assert await refused(client, kind, **fields) == error
        assert len(client.of(ADDED)) == 1
        await client.send("conversation.item.delete", item_id="a")
        await client.until("conversation.item.deleted")
        again = await refused(client, "conversation.item.delete", item_id="a")
        assert again[0] == "item_delete_invalid_item_id"
        await client.say("Hello again?", id="a")  # the id is free


async def test_a_deleted_item_is_unknown_to_the_model(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**TEXT)
        await client.say("First.", id="a")
        await client.say("Second.", id="b")
        await client.send("conversation.item.delete", item_id="b")
        await client.until("conversation.item.deleted")
        assert text_of(await client.answer()).startswith("You said: First..")


async def test_an_answer_from_before_is_cut_in_proportion(served: Gateway) -> None:
    async with joined(served) as client:
        await client.say("One two three four five six seven.")
        [first] = (await client.answer())["output"]
        await client.say("And?")
        [second] = (await client.answer())["output"]
        whole = first["content"][0]["transcript"]
        code, param = await refused(
            client,
            "conversation.item.truncate",
            item_id=first["id"],
            content_index=0,
            audio_end_ms=10**6,
        )
        assert (code, param) == ("invalid_value", "audio_end_ms")
        for item, end in ((first, 500), (second, 0)):
            await client.send(
                "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=end
            )
            await client.until("conversation.item.truncated")
            await client.send("conversation.item.retrieve", item_id=item["id"])
            kept = (await client.until("conversation.item.retrieved"))["item"]
            words = kept["content"][0]["transcript"]
            assert kept["status"] == "incomplete"
            assert whole.startswith(words)
            assert len(words) < len(whole)
            assert bool(words) == bool(end)


# --- responses ---


async def test_a_second_response_waits_for_its_turn(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**SLOW)
        await client.say(STORY)
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        code, _ = await refused(client, "response.create")
        assert code == "conversation_already_has_active_response"
        await client.send("output_audio_buffer.clear")
        response = (await client.until("response.done"))["response"]
        assert response["status_details"]["reason"] == "client_cancelled"
        cleared = await client.until("output_audio_buffer.cleared")
        assert cleared["response_id"] == response["id"]
        # and once it is over there is nothing to cancel, and still an answer to a clear
        code, _ = await refused(client, "response.cancel")
        assert code == "response_cancel_not_active"
        await client.send("output_audio_buffer.clear")
        assert (await client.until("output_audio_buffer.cleared")) == {
            **cleared,
            "event_id": client.seen[-1]["event_id"],
        }


async def test_to_clear_nothing_harms_nothing(served: Gateway) -> None:
    async with joined(served) as client:
        await client.send("output_audio_buffer.clear")
        await client.update(**TEXT)
        assert "error" not in client.kinds


async def test_a_response_aside_runs_beside_another(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**SLOW)
        await client.say(STORY)
        await client.send("response.create")
        main = (await client.until("response.created"))["response"]["id"]
        await client.until("response.output_audio.delta")
        metadata = {"topic": "tea"}
        question = {"type": "message", "role": "user", "content": [text_part("Tea?")]}
        wishes = {"conversation": "none", "metadata": metadata, "input": [question], **TEXT}
        await client.send("response.create", response=wishes)
        done = (await client.until("response.done"))["response"]
        assert (done["metadata"], done["conversation_id"]) == (metadata, None)
        assert done["output_modalities"] == ["text"]
        assert text_of(done).startswith("You said: Tea?.")
        items = [event["item"]["id"] for event in client.of(ADDED)]
        assert done["output"][0]["id"] not in items
        await client.send("response.cancel")
        cancelled = (await client.until("response.done"))["response"]
        assert (cancelled["id"], cancelled["status"]) == (main, "cancelled")


def text_part(text: str) -> Json:
    return {"type": "input_text", "text": text}


async def test_one_aside_is_cancelled_by_its_name_alone(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**SLOW)
        await client.say(STORY * 20)
        await client.send("response.create")
        main = (await client.until("response.created"))["response"]["id"]
        await client.send("response.create", response={"conversation": "none"})
        aside = (await client.until("response.created"))["response"]["id"]
        await client.send("response.cancel", response_id=aside)
        ended = (await client.until("response.done"))["response"]
        assert ended["id"] == aside
        assert ended["status"] in ("cancelled", "completed")
        await client.send("response.cancel", response_id=main)
        ended = (await client.until("response.done"))["response"]
        assert (ended["id"], ended["status"]) == (main, "cancelled")


async def test_a_response_aside_is_spoken_too(served: Gateway) -> None:
    async with joined(served) as client:
        await client.say("Hello?", id="a")
        reference = {"type": "item_reference", "id": "a"}
        response = await client.answer(conversation="none", input=[reference])
        assert text_of(response).startswith("You said: Hello?.")
        assert client.of("response.output_audio.delta")
        assert client.of("response.output_audio.done")
        wrong = {"conversation": "none", "input": [{"type": "item_reference", "id": "b"}]}
        code, param = await refused(client, "response.create", response=wrong)
        assert (code, param) == ("invalid_value", "response.input.0.id")


async def test_a_turn_that_is_being_transcribed_may_be_referred_to(served: Gateway) -> None:
    async with joined(served) as client:
        await client.update(**PUSH_TO_TALK, **TEXT)
        for seconds in (0.3, 0.4, 0.5):
            await client.append(sound(seconds))
            await client.send("input_audio_buffer.commit")
            item_id = (await client.until("input_audio_buffer.committed"))["item_id"]
            reference = {"type": "item_reference", "id": item_id}
            response = await client.answer(conversation="none", input=[reference])
            assert heard(seconds) in text_of(response)


async def test_a_response_may_be_asked_for_in_its_own_way(served: Gateway) -> None:
    async with joined(served) as client:
        await client.say("Hello?")
        response = await client.answer(max_output_tokens=3, metadata={"n": "1"}, **TEXT)
        assert (response["status"], response["max_output_tokens"]) == ("incomplete", 3)
        assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
        assert (response["metadata"], response["output_modalities"]) == ({"n": "1"}, ["text"])
        # the next is as the session says again
        response = await client.answer()
        assert (response["status"], response["output_modalities"]) == ("completed", ["audio"])


# --- the session ---


@pytest.mark.parametrize(
    "wrong",
    [
        {"output_modalities": ["audio", "text"]},
        {"max_output_tokens": 0},
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2.0}}}},
        {"audio": {"output": {"speed": 9.0}}},
        {"tool_choice": {"type": "function", "name": "missing"}},
        {"prompt": {"id": "mine"}},
    ],
)
async def test_of_an_update_that_is_refused_nothing_is_applied(
    served: Gateway, wrong: Json
) -> None:
    async with joined(served) as client:
        before = client.seen[0]["session"]
        await client.send("session.update", session={"instructions": "Be rude.", **wrong})
        await client.error()
        await client.update()
        after = client.seen[-1]["session"]
        assert after == {name: value for name, value in before.items() if name != "parley"}


async def test_a_commit_that_was_heard_before_the_connection_broke_holds_up_nothing(
    served: Gateway,
) -> None:
    async with joined(served) as client:
        await client.update(**PUSH_TO_TALK, **TEXT)
        session, last = client.seen[0]["session"], client.seen[-1]["event_id"]
        assert heard(0.4) in await question(client, 0.4)
        client.vanish()
    # the client says that it saw nothing of it, and sends everything again
    async with resumed(served, session, last) as again:
        await again.until("response.done")
        await again.send("input_audio_buffer.commit")
        await again.send("session.update", session={"instructions": "Be brief."})
        await again.until("session.updated")


async def test_everything_at_once(served: Gateway) -> None:
    """Requests of every kind without waiting for a reply: each is answered, in order."""
    async with joined(served) as client:
        await client.update(**SLOW)
        await client.append(TURN)
        await client.until("response.output_audio.delta")
        item = {"type": "message", "role": "user", "content": [text_part("Hi.")], "id": "a"}
        await client.send("conversation.item.create", item=item)
        await client.send("response.create", event_id="1")
        await client.send("conversation.item.retrieve", item_id="a")
        await client.send("response.cancel")
        await client.send("response.create", response=TEXT)
        await client.send("conversation.item.delete", item_id="a")
        await client.send("input_audio_buffer.clear")
        await client.until("conversation.item.deleted")
        kept = [
            "error",
            "conversation.item.retrieved",
            "response.done",
            "response.created",
            "conversation.item.deleted",
        ]
        seen = [kind for kind in client.kinds if kind in kept]
        assert seen[0] == "response.created"
        assert set(seen[1:3]) == {"error", "conversation.item.retrieved"}
        if len(client.of("error")) == 1:  # it had been played out before
            await client.until("response.done")
        if "input_audio_buffer.cleared" not in client.kinds:
            await client.until("input_audio_buffer.cleared")
