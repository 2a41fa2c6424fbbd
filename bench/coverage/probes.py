"""Something to send for every field of the protocol's types.

Where a type names its values, or is true or false, those are sent; for the rest something is here.
A field that a newer package has and that nothing is here for ends the run.
"""

from collections.abc import Iterator
from typing import Any

from openai.types.realtime import (
    RealtimeResponseCreateParams,
    RealtimeSessionCreateRequest,
    RealtimeTranscriptionSessionCreateRequest,
)
from pydantic import BaseModel

from bench.coverage.fields import leaves, nested

TYPES: dict[str, type[BaseModel]] = {
    "realtime": RealtimeSessionCreateRequest,
    "transcription": RealtimeTranscriptionSessionCreateRequest,
    "response": RealtimeResponseCreateParams,
}

_FUNCTION = {
    "type": "function",
    "name": "look_up",
    "description": "Looks a word up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
}
_MCP = {"type": "mcp", "server_label": "docs", "server_url": "https://mcp.example"}
_RETENTION = {
    "type": "retention_ratio",
    "retention_ratio": 0.5,
    "token_limits": {"post_instructions": 800},
}
_MESSAGE = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "Hello."}],
}

# Sent as a whole, for their parts mean something only together.
_WHOLE: dict[str, list[Any]] = {
    "audio.output.voice": [{"id": "voice_1"}],
    "include": [["item.input_audio_transcription.logprobs"]],
    "input": [[_MESSAGE], []],
    "metadata": [{"topic": "tests"}],
    "output_modalities": [["audio"], ["text"], ["audio", "text"]],
    "prompt": [{"id": "prompt_1"}],
    "reasoning": [{"effort": "low"}],
    "tool_choice": [{"type": "function", "name": "look_up"}, {"type": "mcp", "server_label": "d"}],
    "tools": [[_FUNCTION], [_MCP]],
    "tracing": [{"workflow_name": "tests", "group_id": "one", "metadata": {"a": "b"}}],
    "truncation": [_RETENTION],
}
_VALUES: dict[str, list[Any]] = {
    "audio.input.noise_reduction.strength": [0.5],
    "audio.input.transcription.keywords": [["Parley"]],
    "audio.input.transcription.language": ["en", "tlh"],
    "audio.input.transcription.languages": [["en", "de"]],
    "audio.input.transcription.prompt": ["Names: Parley."],
    "audio.input.turn_detection.idle_timeout_ms": [6000],
    "audio.input.turn_detection.prefix_padding_ms": [200],
    "audio.input.turn_detection.silence_duration_ms": [300],
    "audio.input.turn_detection.threshold": [0.6],
    "audio.output.speed": [1.2],
    "instructions": ["Be brief."],
    "max_output_tokens": [100],
}
# A field of these is sent with the rest of its object, which it means nothing without.
_WITH: dict[str, dict[str, Any]] = {
    "audio.input.format.rate": {"type": "audio/pcm"},
    "audio.output.format.rate": {"type": "audio/pcm"},
    "audio.input.noise_reduction.strength": {"type": "near_field"},
    "audio.input.turn_detection.eagerness": {"type": "semantic_vad"},
}
_DETECTION = "audio.input.turn_detection."


def probes(kind: str) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Each field's path, a value for it, and the object that brings it to the server.

    Raises:
        LookupError: the package has a field for which there is nothing to send.
    """
    for path, named in leaves(TYPES[kind], frozenset(_WHOLE)).items():
        values = [*named, *_WHOLE.get(path, ()), *_VALUES.get(path, ())]
        if path == "type":
            continue
        if not values:
            raise LookupError(f"{kind}: nothing to send for the field {path}")
        for value in values:
            yield path, value, _bringing(path, value)


def _bringing(path: str, value: Any) -> dict[str, Any]:
    sent = nested(path, value)
    rest = _WITH.get(path)
    if rest is None and path.startswith(_DETECTION) and not path.endswith(".type"):
        rest = {"type": "server_vad"}
    if rest is not None:
        inner: Any = sent
        for name in path.split(".")[:-1]:
            inner = inner[name]
        inner.update(rest)
    if path == "tool_choice":
        sent["tools"] = [_FUNCTION]
    return sent


ITEMS: dict[str, dict[str, Any]] = {
    "system message, input_text": {
        "type": "message",
        "role": "system",
        "content": [{"type": "input_text", "text": "Be brief."}],
    },
    "user message, input_text": _MESSAGE,
    "user message, input_audio (audio)": {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_audio", "audio": "AAAA" * 3200}],
    },
    "user message, input_audio (transcript)": {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": "Hello."}],
    },
    "user message, input_image": {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}],
    },
    "assistant message, output_text": {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hi."}],
    },
    "assistant message, output_audio (transcript)": {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_audio", "transcript": "Hi."}],
    },
    "function_call": {
        "type": "function_call",
        "name": "look_up",
        "call_id": "call_1",
        "arguments": "{}",
    },
    "function_call_output": {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": "found",
    },
    "mcp_approval_response": {
        "type": "mcp_approval_response",
        "id": "mcp_1",
        "approval_request_id": "mcp_0",
        "approve": True,
    },
}
