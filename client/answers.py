"""Answers made of events. No I/O."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from client.errors import ParleyError
from client.events import (
    Event,
    InputTranscriptionCompleted,
    InputTranscriptionFailed,
    OutputAudioDelta,
    ResponseDone,
)
from client.microphone import SAMPLE_RATE
from client.objects import Item, Response
from shared.audio import Int16, write_wav


@dataclass(frozen=True)
class Call:
    """A function that the model calls, and with what."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A response that is over.

    `heard` is what the user said before it, where transcription is on; `audio` is int16 (n,) at
    24 kHz, as much of it as came. `status` is completed, cancelled or incomplete (too long), with
    the server's `reason` for the latter two. Of a cancelled one `text` is what was heard.
    """

    heard: str
    text: str
    audio: Int16
    calls: list[Call]
    status: str
    reason: str | None

    def save(self, path: str | Path) -> None:
        """Writes the audio as a WAV file of 16 bits at 24 kHz.

        Raises:
            OSError: the file cannot be written.
        """
        write_wav(Path(path), self.audio, SAMPLE_RATE)


@dataclass
class Listener:
    """Takes in events until they make an answer."""

    _heard: list[str] = field(default_factory=list)
    _audio: dict[str, list[Int16]] = field(default_factory=dict)

    def take(self, event: Event) -> Answer | None:
        """The answer that ends with this event.

        Raises:
            ServerError: the server reports an error.
            ParleyError: it understood nothing, or its response failed.
        """
        if event.error:
            raise event.error
        match event:
            case InputTranscriptionFailed(problem=problem):
                raise ParleyError(f"recognition failed: {problem.message}")
            case InputTranscriptionCompleted(transcript=transcript):
                self._heard.append(transcript.strip())
            case OutputAudioDelta(response_id=response_id):
                self._audio.setdefault(response_id, []).append(event.audio)
            case ResponseDone(response=response):
                return self._done(response)
        return None

    def _done(self, response: Response) -> Answer | None:
        audio = self._audio.pop(response.id, [])
        if response.status == "failed":
            raise ParleyError(f"the response failed: {response.reason or 'no reason given'}")
        if response.reason == "turn_detected":
            return None  # the user went on: another response answers all of it
        return Answer(
            heard=" ".join(filter(None, self._heard)),
            text="".join(map(_words, response.output)),
            audio=np.concatenate([np.empty(0, np.int16), *audio]),
            calls=[_call(item) for item in response.output if item.type == "function_call"],
            status=response.status,
            reason=response.reason,
        )


def _words(item: Item) -> str:
    return "".join(part.text or part.transcript or "" for part in item.content)


def _call(item: Item) -> Call:
    try:
        return Call(item.call_id or "", item.name or "", json.loads(item.arguments or "{}"))
    except ValueError as error:
        raise ParleyError(
            f"the arguments of {item.name} must be JSON, not {item.arguments!r}"
        ) from error
