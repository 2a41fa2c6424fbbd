"""What one client saw of its session, put together turn by turn as it comes. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bench.chaos.script import Turn
from client import SAMPLE_RATE, Event
from shared.audio import Int16

Progress = Literal["committed", "transcribed", "created", "text", "audio", "done"]

_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


@dataclass(slots=True)
class Response:
    """One response: its events' types in order, and what they brought. Its item, which a response
    without text does not have, is shown with its first text."""

    response_id: str
    kinds: list[str] = field(default_factory=list)
    item_id: str = ""
    deltas: list[str] = field(default_factory=list)
    chunks: list[Int16] = field(default_factory=list)
    status: str = ""
    text: str = ""

    @property
    def audio(self) -> Int16:
        return np.concatenate([np.zeros(0, np.int16), *self.chunks])

    @property
    def audio_ms(self) -> int:
        return sum(map(len, self.chunks)) * 1000 // SAMPLE_RATE

    @property
    def done(self) -> bool:
        return bool(self.status)


@dataclass(slots=True)
class Exchange:
    """One turn of the user's and what came of it.

    `began_s` is when its first sample was sent, `asked_s` when enough was sent for an answer: from
    then on somebody waits. `progress` is every step towards the answer and when it was seen.
    """

    turn: Turn
    began_s: float
    asked_s: float | None = None
    item_id: str = ""
    kinds: list[str] = field(default_factory=list)
    transcript: str | None = None
    responses: list[Response] = field(default_factory=list)
    progress: list[tuple[float, Progress]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return any(response.done for response in self.responses)

    @property
    def heard_ms(self) -> int:
        return sum(response.audio_ms for response in self.responses)


@dataclass(slots=True)
class Said:
    """An item as it joined the conversation, and the text it ended with."""

    item_id: str
    role: str
    text: str | None


class Record:
    """One session from its client's side."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.session_id = ""
        self.exchanges: list[Exchange] = []
        self.items: list[Said] = []
        self.errors: list[Event] = []
        self.strangers: list[str] = []
        """What belongs to no turn, in words."""
        self.events: list[tuple[float, Event]] = []
        """All events without their audio, and when they came."""
        self.resumed = 0
        self.broke = ""
        """Why the conversation could not go on, if it could not."""
        self._responses: dict[str, Response] = {}

    def begin(self, turn: Turn, now_s: float) -> Exchange:
        """The next turn begins."""
        exchange = Exchange(turn, now_s)
        self.exchanges.append(exchange)
        return exchange

    @property
    def responses(self) -> list[Response]:
        """All responses, in the order in which they were created."""
        return list(self._responses.values())

    def receive(self, event: Event, now_s: float) -> None:
        """Takes in what the server said."""
        self.events.append((now_s, _without_audio(event)))
        if event.type == "error":
            self.errors.append(event)
        elif event.type == "session.created":
            self.session_id = event["session"]["id"]
        elif event.type == "parley.session.resumed":
            self.resumed += 1
        elif event.type.startswith("response."):
            self._answered(event, now_s)
        elif event.type.startswith("conversation.item.") and self._is_answer(event):
            self._answer_item(event)
        elif event.type != "session.updated":
            self._of_item(event, now_s)

    # --- the user's items ---

    def _of_item(self, event: Event, now_s: float) -> None:
        item_id = event.fields.get("item_id") or event.fields.get("item", {}).get("id", "")
        exchange = self._exchange(item_id, event)
        if exchange is None:
            self.strangers.append(f"{event.type} of item {item_id!r}, which is no turn's")
            return
        exchange.kinds.append(event.type)
        if event.type == "conversation.item.added":
            self.items.append(Said(item_id, "user", exchange.turn.text))
        elif event.type == "input_audio_buffer.committed":
            exchange.progress.append((now_s, "committed"))
        elif event.type == _TRANSCRIBED:
            exchange.transcript = event["transcript"]
            exchange.progress.append((now_s, "transcribed"))
        if exchange.turn.way != "typed":
            self._said(item_id, exchange.transcript)

    def _exchange(self, item_id: str, event: Event) -> Exchange | None:
        """The turn that an item is; the first event of a new item makes it the next turn's."""
        for exchange in self.exchanges:
            if exchange.item_id == item_id:
                return exchange
        for exchange in self.exchanges:
            if not exchange.item_id and _begins(exchange.turn, event):
                exchange.item_id = item_id
                return exchange
        return None

    def _said(self, item_id: str, text: str | None) -> None:
        for said in self.items:
            if said.item_id == item_id:
                said.text = text

    # --- the assistant's ---

    def _is_answer(self, event: Event) -> bool:
        return event.fields.get("item", {}).get("role") == "assistant"

    def _answered(self, event: Event, now_s: float) -> None:
        response_id = event.response_id or ""
        response = self._responses.setdefault(response_id, Response(response_id))
        response.kinds.append(event.type)
        step: Progress | None = None
        if event.type == "response.created":
            step = "created"
        elif event.type == "response.output_item.added":
            response.item_id = event["item"]["id"]
        elif event.type == "response.output_audio_transcript.delta":
            response.deltas.append(event["delta"])
            step = "text"
        elif event.type == "response.output_audio.delta":
            response.chunks.append(event.audio)
            step = "audio"
        elif event.type == "response.done":
            response.status = event["response"]["status"]
            for item in event["response"]["output"]:
                response.text = item["content"][0]["transcript"]
                self._said(response.item_id, response.text)
            if not response.item_id:
                self._without_item(response)
            step = "done"
        if step is not None:
            self._progress(response, step, now_s)

    def _answer_item(self, event: Event) -> None:
        item_id = event["item"]["id"]
        for response in self._of_answer_item(item_id):
            response.kinds.append(event.type)
            if event.type != "conversation.item.added":
                return
            self.items.append(Said(item_id, "assistant", None))
            for exchange in self.exchanges:
                if exchange.item_id == event["previous_item_id"]:
                    exchange.responses.append(response)
                    return
            self.strangers.append(f"response {response.response_id}, which answers no turn")
            return
        self.strangers.append(f"{event.type} of item {item_id!r}, which is no response's")

    def _without_item(self, response: Response) -> None:
        """Nothing says which turn it answers: the last that is not answered."""
        for exchange in self._waiting():
            exchange.responses.append(response)
            return
        self.strangers.append(f"response {response.response_id}, which answers no turn")

    def _of_answer_item(self, item_id: str) -> Iterator[Response]:
        return (each for each in self._responses.values() if each.item_id == item_id)

    def _progress(self, response: Response, step: Progress, now_s: float) -> None:
        """`created` comes before it is known which turn is answered: the last that is not."""
        answered = [each for each in self.exchanges if response in each.responses]
        for exchange in (answered or self._waiting())[:1]:
            exchange.progress.append((now_s, step))

    def _waiting(self) -> list[Exchange]:
        """The turns that are not answered yet."""
        return [each for each in self.exchanges if each.item_id and not each.responses]


def _without_audio(event: Event) -> Event:
    if event.type != "response.output_audio.delta":
        return event
    return Event(event.type, {**event.fields, "delta": f"{len(event.audio)} samples"})


def _begins(turn: Turn, event: Event) -> bool:
    """Whether an event can be the first of this turn's item."""
    if turn.way == "spoken":
        return event.type == "input_audio_buffer.speech_started"
    if turn.way == "push_to_talk":
        return event.type == "input_audio_buffer.committed"
    return event.type == "conversation.item.added" and event["item"]["content"] == [
        {"type": "input_text", "text": turn.text}
    ]
