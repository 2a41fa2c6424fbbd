"""One response as the protocol shows it, event by event. No I/O."""

import base64
import json
import math
from typing import Any

from gateway.answer import Answer, Status
from gateway.happenings import ResponseEnded
from gateway.protocols.realtime import items
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.events import Event, event
from gateway.protocols.realtime.formats import FORMATS, described, of_rate
from shared.audio import Int16
from shared.messages import FunctionCall, Item, ItemStatus, Part, ResponseCreated, TextDelta

# Of an answer's audio a token is 50 ms, as the protocol's authors count it.
_AUDIO_TOKEN_MS = 50


class ResponseView:
    """One response, its message and its function calls.

    Its item is shown with its first words. `previous`, where it is asked for, is the item of the
    conversation that the item comes after.
    """

    def __init__(
        self, created: ResponseCreated, configuration: Configuration, conversation_id: str
    ) -> None:
        self.response_id, self.item_id = created.response_id, created.item_id
        self.aside = created.aside
        self.begun = False
        """Whether its item was shown."""
        self._modality = created.modality
        self._conversation_id = None if created.aside else conversation_id
        self._shown = json.loads(created.protocol) if created.protocol else _usual(configuration)
        self._shown["output_modalities"] = [created.modality]
        output = self._shown["audio"]["output"]
        if FORMATS[output["format"]["type"]].rate != created.output_rate:  # it changed meanwhile
            output["format"] = described(of_rate(created.output_rate))
        self._format = FORMATS[output["format"]["type"]]
        self._place = {
            "response_id": self.response_id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }

    def created(self) -> list[Event]:
        """The response begins."""
        return [event("response.created", response=self._response("in_progress", []))]

    def begin(self, previous: str | None) -> list[Event]:
        """Its item begins."""
        self.begun = True
        item = items.shown(self._item("in_progress", None))
        part = {"type": "audio", "transcript": ""}
        if self._modality == "text":
            part = {"type": "text", "text": ""}
        return [
            *self._item_added(item, 0, previous),
            event("response.content_part.added", part=part, **self._place),
        ]

    def text(self, delta: TextDelta) -> Event:
        """More of the answer's text."""
        audio = self._modality == "audio"
        kind = "response.output_audio_transcript.delta" if audio else "response.output_text.delta"
        return event(kind, delta=delta.text, **self._place)

    def audio(self, samples: Int16) -> Event:
        """More of the answer's audio."""
        encoded = base64.b64encode(self._format.encode(samples)).decode("ascii")
        return event("response.output_audio.delta", delta=encoded, **self._place)

    def called(self, call: FunctionCall, index: int, previous: str | None) -> list[Event]:
        """The model calls a function: its call number `index` of this response."""
        item = items.shown(call)
        number = index + self.begun
        place = {
            "response_id": self.response_id,
            "item_id": call.item_id,
            "output_index": number,
            "call_id": call.call_id,
        }
        arguments = "response.function_call_arguments"
        begun = {**item, "status": "in_progress", "arguments": ""}
        return [
            *self._item_added(begun, number, previous),
            event(f"{arguments}.delta", delta=call.arguments, **place),
            event(f"{arguments}.done", name=call.name, arguments=call.arguments, **place),
            *self._item_done(item, number, previous),
        ]

    def ended(self, end: ResponseEnded, previous: str | None) -> list[Event]:
        """Closes what is open; the last event is response.done."""
        output, events = [], []
        if self.begun:
            whole = end.status == "completed"
            item = items.shown(self._item("completed" if whole else "incomplete", end.text))
            output.append(item)
            events = [*self._parts_done(end.text), *self._item_done(item, 0, previous)]
        if end.answer.done is not None:
            output += [items.shown(call) for call in end.answer.done.calls]
        response = self._response(end.status, output)
        response["status_details"] = _details(end.status, end.reason)
        response["usage"] = _usage(end.answer)
        return [*events, event("response.done", response=response)]

    def _item_added(self, item: Event, index: int, previous: str | None) -> list[Event]:
        place = {"response_id": self.response_id, "output_index": index}
        events = [event("response.output_item.added", item=item, **place)]
        if not self.aside:
            events.append(event("conversation.item.added", previous_item_id=previous, item=item))
        return events

    def _item_done(self, item: Event, index: int, previous: str | None) -> list[Event]:
        place = {"response_id": self.response_id, "output_index": index}
        events = [event("response.output_item.done", item=item, **place)]
        if not self.aside:
            events.insert(0, event("conversation.item.done", previous_item_id=previous, item=item))
        return events

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

    def _item(self, status: ItemStatus, text: str | None) -> Item:
        parts = [] if text is None else [Part(modality=self._modality, text=text)]
        return Item(item_id=self.item_id, role="assistant", status=status, parts=parts)

    def _response(self, status: str, output: list[Event]) -> Event:
        return {
            "object": "realtime.response",
            "id": self.response_id,
            "status": status,
            "status_details": None,
            "output": output,
            "conversation_id": self._conversation_id,
            "usage": None,
            **self._shown,
        }


def _usual(configuration: Configuration) -> dict[str, Any]:
    """What is shown of a response that nobody asked for in particular."""
    output = configuration.shown["audio"]["output"]
    return {
        "max_output_tokens": configuration.shown["max_output_tokens"],
        "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
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
    """Tokens that the language model read and wrote, and those of the audio that was sent. What
    the user said was read as text."""
    read = answer.done.input_tokens if answer.done else 0
    cached = answer.done.cached_tokens if answer.done else 0
    written = answer.done.output_tokens if answer.done else 0
    spoken = math.ceil(answer.sent_ms / _AUDIO_TOKEN_MS) if answer.modality == "audio" else 0
    return {
        "total_tokens": read + written + spoken,
        "input_tokens": read,
        "output_tokens": written + spoken,
        "input_token_details": {
            "text_tokens": read,
            "audio_tokens": 0,
            "cached_tokens": cached,
        },
        "output_token_details": {"text_tokens": written, "audio_tokens": spoken},
    }
