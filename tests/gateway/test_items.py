"""Items that clients bring: every kind is understood, or refused by the name of its field."""

import base64
from typing import Any

import pytest

from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.items import read, shown
from shared.messages import FunctionCall, FunctionOutput, Item, Part

Json = dict[str, Any]

SOUND = base64.b64encode(b"\x01\x00\x02\x00").decode()
TEXT = {"type": "input_text", "text": "Hi."}


def message(*content: Json, role: str = "user", **fields: Any) -> Json:
    return {"type": "message", "role": role, "content": list(content), **fields}


def item_of(fields: Json) -> Any:
    return read(fields, "item").item


def problem(fields: Json) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        read(fields, "item")
    assert caught.value.message.startswith(caught.value.param or "no field was named")
    return caught.value


@pytest.mark.parametrize(
    ("role", "content", "part"),
    [
        ("system", TEXT, Part(text="Hi.")),
        ("user", TEXT, Part(text="Hi.")),
        ("user", {"type": "input_audio", "transcript": "Hi."}, Part(modality="audio", text="Hi.")),
        ("assistant", {"type": "output_text", "text": "Hi."}, Part(text="Hi.")),
        (
            "assistant",
            {"type": "output_audio", "transcript": "Hi."},
            Part(modality="audio", text="Hi."),
        ),
    ],
)
def test_a_message_of_every_role_becomes_an_item_and_is_shown_as_it_came(
    role: Any, content: Json, part: Part
) -> None:
    item = item_of(message(content, role=role, id="mine"))
    assert item == Item(item_id="mine", role=role, parts=[part])
    assert shown(item)["content"] == [content]


def test_several_parts_keep_their_order() -> None:
    found = read(message(TEXT, {"type": "input_audio", "audio": SOUND}, TEXT), "item")
    assert isinstance(found.item, Item)
    assert [part.text for part in found.item.parts] == ["Hi.", None, "Hi."]
    assert (found.item.pending, found.audio) == (1, b"\x01\x00\x02\x00")


def test_words_that_come_with_their_audio_are_believed() -> None:
    part = {"type": "input_audio", "audio": SOUND, "transcript": "Hi."}
    found = read(message(part), "item")
    assert isinstance(found.item, Item)
    assert found.item.parts == [Part(modality="audio", text="Hi.")]
    assert found.audio is None


def test_a_call_and_its_output_become_items() -> None:
    call = {"type": "function_call", "id": "a", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "id": "b", "call_id": "c", "output": "fog"}
    assert item_of(call) == FunctionCall(item_id="a", call_id="c", name="f", arguments="{}")
    assert item_of(output) == FunctionOutput(item_id="b", call_id="c", output="fog")
    for given in (call, output):
        assert given.items() <= shown(item_of(given)).items()


@pytest.mark.parametrize(
    "fields",
    [
        message(TEXT),
        {"type": "function_call", "name": "f", "arguments": ""},
        {"type": "function_call_output", "call_id": "c", "output": ""},
    ],
)
def test_an_item_without_an_id_gets_one(fields: Json) -> None:
    assert len({item_of(fields).item_id for _ in range(2)}) == 2


@pytest.mark.parametrize("item_id", ["x" * 256, "0123abcd", "any form: will\ndo", "é"])
def test_ids_may_have_any_form(item_id: str) -> None:
    assert item_of(message(TEXT, id=item_id)).item_id == item_id


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (message(TEXT, id="x" * 257), "item.id"),
        (message({"type": "input_text"}), "item.content.0.text"),
        (message({"text": "a"}), "item.content.0.type"),
        (message({"type": "input_audio"}), "item.content.0.transcript"),
        (message({"type": "input_audio", "audio": "?"}), "item.content.0.audio"),
        (message({"type": "output_text", "text": "a"}), "item.content.0.type"),
        (message(TEXT, {"type": "input_image", "image_url": "data:"}), "item.content.1.type"),
        (message({"type": "input_audio", "transcript": "a"}, role="system"), "item.content.0.type"),
        (message(TEXT, role="assistant"), "item.content.0.type"),
        (
            message({"type": "output_audio", "audio": SOUND}, role="assistant"),
            "item.content.0.transcript",
        ),
        (message(*[{"type": "input_audio", "audio": SOUND}] * 2), "item.content.1"),
        (message(*[TEXT] * 65), "item.content"),
        (message(*[{"type": "input_text", "text": "a" * 20_000}] * 2), "item.content"),
        ({"type": "function_call_output", "call_id": "c", "output": "a" * 32_769}, "item.output"),
        ({"type": "function_call_output", "call_id": "", "output": ""}, "item.call_id"),
        ({"type": "function_call_output", "call_id": "c" * 257, "output": ""}, "item.call_id"),
        ({"type": "function_call", "name": "f" * 257, "arguments": ""}, "item.name"),
        ({"type": "function_call", "name": "", "arguments": ""}, "item.name"),
        ({"type": "function_call", "name": "f", "arguments": "a" * 32_769}, "item.arguments"),
        ({"type": "mcp_list_tools", "server_label": "s", "tools": []}, "item.type"),
    ],
)
def test_an_item_that_cannot_be_taken_is_refused(fields: Json, param: str) -> None:
    assert problem(fields).param == param
