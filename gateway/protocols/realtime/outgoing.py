"""What a client is shown: server events as the protocol writes them. No I/O.

Names and fields follow `openai.types.realtime`; the order of a turn's events is the protocol's.
"""

import base64
from typing import Any, Literal

from gateway.answer import Answer, Status
from gateway.happenings import ResponseEnded
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.incoming import ProtocolError
from shared.audio import SAMPLE_RATE, Int16
from shared.messages import (
    CommitRefused,
    Committed,
    Item,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
    Transcribed,
    TranscriptionFailed,
    Truncated,
)

Event = dict[str, Any]
ItemStatus = Literal["in_progress", "completed", "incomplete"]

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def event(kind: str, **fields: Any) -> Event:
    """A server event; it gets its id when it is sent."""
    return {"type": kind, **fields}


def error(problem: ProtocolError) -> Event:
    """Tells the client what was wrong with what it sent; the connection lives on."""
    return event(
        "error",
        error={
            "type": "invalid_request_error",
            "code": problem.code,
            "message": problem.message,
            "param": problem.param,
            "event_id": problem.event_id,
        },
    )


# --- conversation items ---


def item_json(item: Item) -> Event:
    """An item of the conversation. What the user said has a transcript, even if it is null."""
    content: list[Event]
    if item.role == "assistant":
        part: Event = (
            {"type": "output_audio", "transcript": item.text or ""}
            if item.modality == "audio"
            else {"type": "output_text", "text": item.text or ""}
        )
        content = [part] if item.text is not None else []
    elif item.modality == "audio":
        content = [{"type": "input_audio", "transcript": item.text}]
    else:
        content = [{"type": "input_text", "text": item.text or ""}]
    return {
        "id": item.item_id,
        "object": "realtime.item",
        "type": "message",
        "status": item.status,
        "role": item.role,
        "content": content,
    }


def item_added(item: Event, previous: str | None) -> list[Event]:
    """A whole item joins the conversation."""
    return [
        event("conversation.item.added", previous_item_id=previous, item=item),
        event("conversation.item.done", previous_item_id=previous, item=item),
    ]


def truncated(message: Truncated) -> Event:
    """The assistant's item was cut to what the client played."""
    place = {"item_id": message.item_id, "content_index": 0}
    return event("conversation.item.truncated", audio_end_ms=message.audio_end_ms, **place)


def speech(message: SpeechStarted | SpeechStopped) -> Event:
    """The user began or stopped speaking, at a position in the session's audio."""
    kind, position = "started", "audio_start_ms"
    if isinstance(message, SpeechStopped):
        kind, position = "stopped", "audio_end_ms"
    at_ms = {position: message.at * 1000 // SAMPLE_RATE}
    return event(f"input_audio_buffer.speech_{kind}", item_id=message.item_id, **at_ms)


def committed(message: Committed, previous: str | None) -> list[Event]:
    """The user's turn is an item; its transcript follows."""
    item = Item.of(item_id=message.item_id, role="user", modality="audio")
    return [
        event("input_audio_buffer.committed", item_id=message.item_id, previous_item_id=previous),
        *item_added(item_json(item), previous),
    ]


def commit_refused(message: CommitRefused) -> Event:
    """There was too little audio to make a turn of."""
    return error(
        ProtocolError(
            "input audio buffer too small: expected at least 100 ms of audio, "
            f"got {message.audio_ms} ms",
            code="input_audio_buffer_commit_empty",
            event_id=message.reference,
        )
    )


def transcribed(message: Transcribed) -> list[Event]:
    """What the user said, in words."""
    place = {"item_id": message.item_id, "content_index": 0}
    usage = {"type": "duration", "seconds": message.audio_s}
    return [
        event(f"{_TRANSCRIPTION}.delta", delta=message.text, **place),
        event(f"{_TRANSCRIPTION}.completed", transcript=message.text, usage=usage, **place),
    ]


def transcription_failed(message: TranscriptionFailed) -> Event:
    """What the user said could not be put in words."""
    error = {"type": "server_error", "code": "engine_failed", "message": message.message}
    kind = f"{_TRANSCRIPTION}.failed"
    return event(kind, item_id=message.item_id, content_index=0, error=error)


# --- responses ---


class ResponseView:
    """One response, event by event, in the protocol's order."""

    def __init__(
        self,
        created: ResponseCreated,
        configuration: Configuration,
        *,
        conversation_id: str,
        previous: str | None,
    ) -> None:
        """`previous` is the item that the response's own comes after."""
        self.response_id, self.item_id = created.response_id, created.item_id
        self._modality = created.modality
        self._conversation_id = conversation_id
        self._previous = previous
        self._format = configuration.output_format
        self._output_audio = configuration.shown["audio"]["output"]
        self._max_output_tokens = configuration.shown["max_output_tokens"]
        self._place = {
            "response_id": self.response_id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }

    def created(self) -> list[Event]:
        """The response and its item begin."""
        item = self._item("in_progress", None)
        part = {"type": "audio", "transcript": ""}
        if self._modality == "text":
            part = {"type": "text", "text": ""}
        return [
            event("response.created", response=self._response("in_progress", [])),
            event(
                "response.output_item.added",
                response_id=self.response_id,
                output_index=0,
                item=item,
            ),
            event("conversation.item.added", previous_item_id=self._previous, item=item),
            event("response.content_part.added", part=part, **self._place),
        ]

    def text(self, delta: str) -> Event:
        """More of the answer's text."""
        audio = self._modality == "audio"
        kind = "response.output_audio_transcript.delta" if audio else "response.output_text.delta"
        return event(kind, delta=delta, **self._place)

    def audio(self, samples: Int16) -> Event:
        """More of the answer's audio."""
        encoded = base64.b64encode(self._format.encode(samples)).decode("ascii")
        return event("response.output_audio.delta", delta=encoded, **self._place)

    def ended(self, end: ResponseEnded) -> list[Event]:
        """Closes what is open; the last event is response.done."""
        whole = end.status == "completed"
        item = self._item("completed" if whole else "incomplete", end.text)
        events = [
            *self._parts_done(end.text),
            event("conversation.item.done", previous_item_id=self._previous, item=item),
            event(
                "response.output_item.done",
                response_id=self.response_id,
                output_index=0,
                item=item,
            ),
        ]
        response = self._response(end.status, [item])
        response["status_details"] = _details(end.status, end.reason)
        response["usage"] = _usage(end.answer)
        return [*events, event("response.done", response=response)]

    def _parts_done(self, text: str) -> list[Event]:
        if self._modality == "text":
            part = {"type": "text", "text": text}
            closed = [event("response.output_text.done", text=text, **self._place)]
        else:
            part = {"type": "audio", "transcript": text}
            transcript = "response.output_audio_transcript.done"
            closed = [
                event("response.output_audio.done", **self._place),
                event(transcript, transcript=text, **self._place),
            ]
        return [*closed, event("response.content_part.done", part=part, **self._place)]

    def _item(self, status: ItemStatus, text: str | None) -> Event:
        return item_json(
            Item(
                item_id=self.item_id,
                role="assistant",
                status=status,
                text=text,
                modality=self._modality,
            )
        )

    def _response(self, status: str, output: list[Event]) -> Event:
        return {
            "object": "realtime.response",
            "id": self.response_id,
            "status": status,
            "status_details": None,
            "output": output,
            "conversation_id": self._conversation_id,
            "output_modalities": [self._modality],
            "max_output_tokens": self._max_output_tokens,
            "audio": {
                "output": {
                    "format": self._output_audio["format"],
                    "voice": self._output_audio["voice"],
                }
            },
            "usage": None,
            "metadata": None,
        }


def _details(status: Status, reason: str) -> Event | None:
    if status == "completed":
        return None
    if status == "failed":
        error = {"type": "server_error", "code": "engine_failed", "message": reason}
        return {"type": "failed", "error": error}
    if status == "incomplete":
        return {"type": "incomplete", "reason": "max_output_tokens"}
    return {"type": "cancelled", "reason": reason}


def _usage(answer: Answer) -> Event:
    """Tokens of the language model; audio is not counted in tokens here."""
    tokens_in = answer.done.input_tokens if answer.done else 0
    tokens_out = answer.done.output_tokens if answer.done else 0
    return {
        "total_tokens": tokens_in + tokens_out,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "input_token_details": {"text_tokens": tokens_in, "audio_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": tokens_out, "audio_tokens": 0},
    }
