"""Conversation items as the protocol writes them, read and shown."""

import base64
from dataclasses import dataclass
from typing import Any, Literal

from gateway.protocols.realtime.errors import ProtocolError
from shared.ids import new_id
from shared.messages import AnyItem, FunctionCall, FunctionOutput, Item, Part

Json = dict[str, Any]

_LONGEST_TEXT = 32_768
_LONGEST_ID = 256
_MOST_PARTS = 64
# What a message of each role may consist of, and which field of it holds its words.
_PARTS = {
    "system": {"input_text": "text"},
    "user": {"input_text": "text", "input_audio": "transcript"},
    "assistant": {"output_text": "text", "output_audio": "transcript"},
}


@dataclass(frozen=True, slots=True)
class Read:
    """An item that a client sent, and the bytes of audio in it that is to be transcribed."""

    item: AnyItem
    audio: bytes | None = None


def read(fields: Json, name: str) -> Read:
    """The item in `fields`, which the client calls `name`; it gets an id if it brings none.

    Raises:
        ProtocolError: an item or content of another kind, too much of it, or none at all.
    """
    item_id = _identifier(fields.get("id") or new_id("item"), f"{name}.id")
    match fields["type"]:
        case "message":
            return _message(item_id, fields, name)
        case "function_call":
            call_id = _identifier(fields.get("call_id") or new_id("call"), f"{name}.call_id")
            arguments = bounded(fields["arguments"], f"{name}.arguments")
            called = _identifier(fields["name"], f"{name}.name")
            return Read(
                FunctionCall(item_id=item_id, call_id=call_id, name=called, arguments=arguments)
            )
        case "function_call_output":
            call_id = _identifier(fields["call_id"], f"{name}.call_id")
            output = bounded(fields["output"], f"{name}.output")
            return Read(FunctionOutput(item_id=item_id, call_id=call_id, output=output))
        case kind:
            param = f"{name}.type"
            raise ProtocolError(f"{param}: {kind} is not supported by this server", param=param)


def audio_bytes(encoded: str, name: str) -> bytes:
    """The bytes in base64.

    Raises:
        ProtocolError: `encoded`, which the client calls `name`, is not base64.
    """
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise ProtocolError(f"{name} must be base64: {error}", param=name) from error


def bounded(text: str, name: str) -> str:
    """`text`, which the client calls `name`; ProtocolError if there is too much of it."""
    if len(text) > _LONGEST_TEXT:
        raise ProtocolError(f"{name} must hold at most {_LONGEST_TEXT} characters", param=name)
    return text


def shown(item: AnyItem) -> Json:
    """An item as the protocol writes it. What the user said has a transcript, even if null."""
    common = {"id": item.item_id, "object": "realtime.item", "status": item.status}
    match item:
        case FunctionCall():
            return {
                **common,
                "type": "function_call",
                "name": item.name,
                "call_id": item.call_id,
                "arguments": item.arguments,
            }
        case FunctionOutput():
            return {
                **common,
                "type": "function_call_output",
                "call_id": item.call_id,
                "output": item.output,
            }
    content = [part_shown(part, item.role) for part in item.parts]
    return {**common, "type": "message", "role": item.role, "content": content}


def part_shown(part: Part, role: Literal["user", "assistant", "system"]) -> Json:
    """A piece of a message as the protocol writes it."""
    side = "output" if role == "assistant" else "input"
    if part.modality == "audio":
        return {"type": f"{side}_audio", "transcript": part.text}
    return {"type": f"{side}_text", "text": part.text}


def _message(item_id: str, fields: Json, name: str) -> Read:
    content = fields["content"]
    if len(content) > _MOST_PARTS:
        param = f"{name}.content"
        raise ProtocolError(f"{param} must have at most {_MOST_PARTS} parts", param=param)
    parts, audio = [], None
    for index, given in enumerate(content):
        place = f"{name}.content.{index}"
        part, heard = _part(given, fields["role"], place)
        if heard is not None and audio is not None:
            raise ProtocolError(f"{place}: only one part may bring audio", param=place)
        parts.append(part)
        audio = heard if heard is not None else audio
    bounded("".join(part.text or "" for part in parts), f"{name}.content")
    return Read(Item(item_id=item_id, role=fields["role"], parts=parts), audio)


def _part(given: Json, role: str, place: str) -> tuple[Part, bytes | None]:
    """A piece of a message, and the audio that its words are to be taken from."""
    kind = given.get("type")
    words = _PARTS[role].get(kind or "")
    if kind == "input_image":
        raise ProtocolError(f"{place}.type: the model cannot see images", param=f"{place}.type")
    if words is None:
        known = " or ".join(repr(name) for name in _PARTS[role])
        param = f"{place}.type"
        raise ProtocolError(f"{param} of the {role}'s content must be {known}", param=param)
    modality: Literal["audio", "text"] = "text" if words == "text" else "audio"
    text, sound = given.get(words), given.get("audio")
    if text is None and (role != "user" or modality == "text" or sound is None):
        either = "audio or transcript" if kind == "input_audio" else words
        raise ProtocolError(
            f"{place}.{words} is required: {kind} is given by its {either}",
            code="missing_required_parameter",
            param=f"{place}.{words}",
        )
    audio = audio_bytes(sound, f"{place}.audio") if text is None and sound is not None else None
    return Part(modality=modality, text=text), audio


def _identifier(text: str, name: str) -> str:
    if not 1 <= len(text) <= _LONGEST_ID:
        raise ProtocolError(f"{name} must have from 1 to {_LONGEST_ID} characters", param=name)
    return text
