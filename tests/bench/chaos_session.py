"""A session in which all went well, as events: what the checks of the chaos suite are tried on."""

import base64
import itertools
from collections.abc import Iterator

from bench.chaos import speaking
from bench.chaos.record import Record
from bench.chaos.script import Ending, Turn, Way
from client import Event
from shared.messages import Item

STEP_S = 0.1
_DELTA = 4_800  # samples


def turn(number: int, way: Way = "spoken", ending: Ending = "heard") -> Turn:
    return Turn(
        session=7,
        number=number,
        way=way,
        ending=ending,
        tone_ms=500,
        tone_hz=300,
        pause_s=0.0,
        heard_ms=200,
    )


class Session:
    """The events of a session, to be spoilt, and what its client and its broker know."""

    def __init__(self, *turns: Turn) -> None:
        self.turns = turns
        self.transcripts = [f"utterance of {each.number}" for each in turns if each.way != "typed"]
        self.history: list[Item] = []
        self.events: list[tuple[int, Event]] = []  # with the turns that had begun by then
        self._ids = itertools.count()
        self._spoken = iter(self.transcripts)
        self._add(0, "session.created", session={"id": "sess_1"})
        for begun, each in enumerate(turns, start=1):
            said = self._asked(begun, each)
            self._answered(begun, each, said)

    def find(self, kind: str, number: int = 0) -> int:
        """Where the `number`-th event of a kind is."""
        return [at for at, (_, each) in enumerate(self.events) if each.type == kind][number]

    def record(self) -> Record:
        """The events as a client takes them in."""
        record = Record(7)
        clock = itertools.count(0.0, STEP_S)
        begun = 0
        for turns, event in self.events:
            while begun < turns:
                exchange = record.begin(self.turns[begun], next(clock))
                exchange.asked_s = next(clock)
                begun += 1
            record.receive(event, next(clock))
        return record

    def cut_short(self, number: int) -> None:
        """The `number`-th response is cancelled before it has text."""
        first, last = (self.find(f"response.{kind}", number) for kind in ("created", "done"))
        begun, done = self.events[last]
        response = {**done["response"], "status": "cancelled", "output": []}
        self.events[last] = (begun, Event(done.type, {**done.fields, "response": response}))
        del self.events[first + 1 : last]

    def _add(self, begun: int, kind: str, **fields: object) -> None:
        named = {"type": kind, "event_id": f"event_{next(self._ids)}", **fields}
        self.events.append((begun, Event(kind, named)))

    def _asked(self, begun: int, asked: Turn) -> str:
        item_id, previous = f"item_u{begun}", self.history[-1].item_id if self.history else None
        said = asked.text if asked.way == "typed" else next(self._spoken)
        self.history.append(Item.of(item_id=item_id, role="user", text=said))
        if asked.way == "spoken":
            self._add(begun, "input_audio_buffer.speech_started", item_id=item_id)
            self._add(begun, "input_audio_buffer.speech_stopped", item_id=item_id)
        if asked.way != "typed":
            self._add(begun, "input_audio_buffer.committed", item_id=item_id)
        content = [{"type": "input_text", "text": said}]
        item = {"id": item_id, "role": "user", "content": content}
        for kind in ("added", "done"):
            self._add(begun, f"conversation.item.{kind}", item=item, previous_item_id=previous)
        if asked.way != "typed":
            kind = "conversation.item.input_audio_transcription"
            self._add(begun, f"{kind}.delta", item_id=item_id, delta=said)
            self._add(begun, f"{kind}.completed", item_id=item_id, transcript=said)
        return said

    def _answered(self, begun: int, asked: Turn, said: str) -> None:
        text = speaking.answer(said)
        item_id, previous = f"item_a{begun}", self.history[-1].item_id
        ids = {"response_id": f"resp_{begun}"}
        item = {"id": item_id, "role": "assistant", "content": []}
        joined = {"item": item, "previous_item_id": previous}
        self._add(begun, "response.created", response={"id": f"resp_{begun}"})
        self._add(begun, "response.output_item.added", item=item, **ids)
        self._add(begun, "conversation.item.added", **joined)
        self._add(begun, "response.content_part.added", **ids)
        for word in text.split(" "):
            delta = word if word == "You" else f" {word}"
            self._add(begun, "response.output_audio_transcript.delta", delta=delta, **ids)
        whole = asked.ending == "heard"
        for delta in self._audio(text, whole):
            self._add(begun, "response.output_audio.delta", delta=delta, **ids)
        heard = text if whole else "You said:"
        self.history.append(Item.of(item_id=item_id, role="assistant", text=heard))
        for part in ("output_audio", "output_audio_transcript", "content_part"):
            self._add(begun, f"response.{part}.done", **ids)
        self._add(begun, "conversation.item.done", **joined)
        self._add(begun, "response.output_item.done", item=item, **ids)
        output = [{"content": [{"transcript": heard}]}]
        status = "completed" if whole else "cancelled"
        response = {"id": f"resp_{begun}", "status": status, "output": output}
        self._add(begun, "response.done", response=response)

    def _audio(self, text: str, whole: bool) -> Iterator[str]:
        audio = speaking.audio(text)
        for at in range(0, len(audio) if whole else 2 * _DELTA, _DELTA):
            yield base64.b64encode(audio[at : at + _DELTA].tobytes()).decode()
