"""What both sides say, made of a server's events. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from client import Event

# A server that leaves an entry unfinished must not keep all that follow it from being finished.
_MOST_OPEN = 6


class State(Enum):
    """How far an entry is."""

    SPEAKING = "speaking"  # words or sound are still to come
    AWAITED = "awaited"  # spoken, and not transcribed yet
    SAID = "said"  # an answer whose words are all here, and which is heard out
    DONE = "done"
    CUT = "cut"  # interrupted: `heard` is what was heard of `text`
    FAILED = "failed"  # `problem` says why


_FINAL = {State.DONE, State.CUT, State.FAILED}


@dataclass
class Entry:
    """What one side says at a time."""

    item_id: str
    speaker: str
    """ "you" or "parley"."""
    state: State
    text: str = ""
    heard: str = ""
    problem: str = ""
    response_id: str | None = None
    sounded: bool = False
    cutting: bool = False
    """Whether the server is being told how much of it was heard."""
    marks: Mapping[str, float] = field(default_factory=dict)
    """The turn's, in ms, as the server tells them after the response."""


class Transcript:
    """The entries that are not finished, in the order in which they began."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    @property
    def open(self) -> list[Entry]:
        """What is being said."""
        return [*self._entries.values()]

    def settled(self) -> list[Entry]:
        """The entries that will not change any more, since this was asked last."""
        settled = []
        for entry in self.open:
            final = entry.state in _FINAL and not entry.cutting
            if not final and len(self._entries) <= _MOST_OPEN:
                break
            settled.append(self._entries.pop(entry.item_id))
        return settled

    def finish(self) -> None:
        """Nothing more is said."""
        for entry in self.open:
            if not entry.text:
                del self._entries[entry.item_id]
            elif entry.state not in _FINAL:
                entry.state = State.DONE

    def heard_out(self, item_id: str) -> None:
        """An answer was played to its end."""
        entry = self._entries.get(item_id)
        if entry and entry.state is State.SAID:
            entry.state = State.DONE

    def cutting(self, item_id: str) -> None:
        """An answer was cut off here; what was heard of it is what the server then says it was."""
        self._change(item_id, cutting=True)

    def take(self, event: Event) -> None:
        """Takes in what the server says."""
        match event.type:
            case "input_audio_buffer.speech_started":
                self._add(Entry(event["item_id"], "you", State.SPEAKING))
            case "input_audio_buffer.speech_stopped":
                self._change(event["item_id"], state=State.AWAITED)
            case "conversation.item.added":
                self._added(event["item"])
            case (
                "conversation.item.input_audio_transcription.delta"
                | "response.output_audio_transcript.delta"
                | "response.output_text.delta"
            ):
                self._append(event["item_id"], event["delta"])
            case "conversation.item.input_audio_transcription.completed":
                self._transcribed(event["item_id"], event["transcript"])
            case "conversation.item.input_audio_transcription.failed":
                problem = event["error"]["message"]
                self._change(event["item_id"], state=State.FAILED, problem=problem)
            case "response.output_item.added" if event["item"]["type"] == "message":
                response_id = event.response_id
                item_id = event["item"]["id"]
                self._add(Entry(item_id, "parley", State.SPEAKING, response_id=response_id))
            case "response.output_audio.delta":
                self._change(event["item_id"], sounded=True)
            case "response.done":
                self._responded(event["response"])
            case "parley.timings":
                if entry := self._answer(event.response_id):
                    entry.marks = event["marks"]
            case "conversation.item.retrieved":
                self._change(event["item"]["id"], cutting=False)
                self._cut(self._entries.get(event["item"]["id"]), _words(event["item"]))

    def _add(self, entry: Entry) -> None:
        self._entries[entry.item_id] = entry

    def _change(self, item_id: str, **fields: Any) -> None:
        if entry := self._entries.get(item_id):
            for name, value in fields.items():
                setattr(entry, name, value)

    def _append(self, item_id: str, words: str) -> None:
        if entry := self._entries.get(item_id):
            entry.text += words

    def _added(self, item: Mapping[str, Any]) -> None:
        if item["type"] != "message" or item["role"] != "user" or item["id"] in self._entries:
            return
        spoken = any(part["type"] == "input_audio" for part in item["content"])
        state = State.AWAITED if spoken else State.DONE
        self._add(Entry(item["id"], "you", state, text=_words(item)))

    def _transcribed(self, item_id: str, text: str) -> None:
        if text.strip():
            self._change(item_id, state=State.DONE, text=text)
        else:
            self._entries.pop(item_id, None)  # a noise

    def _responded(self, response: Mapping[str, Any]) -> None:
        entry = self._answer(response["id"])
        if entry is None:
            return
        if response["status"] == "failed":
            error = (response.get("status_details") or {}).get("error") or {}
            entry.state, entry.problem = State.FAILED, error.get("message", "no reason given")
        elif response["status"] != "cancelled":
            entry.state = State.SAID if entry.sounded else State.DONE
        elif entry.sounded:
            self._cut(entry, _words(response["output"][0]) if response["output"] else "")
        else:
            del self._entries[entry.item_id]  # the user went on: another answer follows

    def _cut(self, entry: Entry | None, heard: str) -> None:
        """Keeps what was heard of an answer apart from what was not."""
        if entry is None or entry.speaker != "parley":
            return
        whole = entry.text.strip() == heard.strip()
        entry.state, entry.heard = (State.DONE, "") if whole else (State.CUT, heard)

    def _answer(self, response_id: str | None) -> Entry | None:
        answers = (entry for entry in self.open if entry.speaker == "parley")
        return next((entry for entry in answers if entry.response_id == response_id), None)


def _words(item: Mapping[str, Any]) -> str:
    """The text of an item, in whichever of its parts."""
    parts = item.get("content") or []
    return "".join(part.get("text") or part.get("transcript") or "" for part in parts)
