"""`parley say`: put a recorded question to a server, in real time, and keep its answer."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from cli.console import fail
from cli.server import ApiKey, Url, explained, server_url, with_timings
from cli.waterfall import Row, median, table, waterfall
from client import SAMPLE_RATE, Event, Parley, ParleyError, frames, silence
from shared.audio import AudioError, Int16, read_wav, resample, write_wav

# Counted in the 20 ms frames that go out meanwhile.
ANSWER_TIMEOUT_FRAMES = 30 * 50
TIMINGS_TIMEOUT_FRAMES = 1 * 50

UPDATE_TIMEOUT_S = 10

Show = Callable[[str, str], None]
"""Called with who speaks, "you" or "parley", and the words that came."""


@dataclass
class _Answer:
    text: str = ""
    audio: list[Int16] = field(default_factory=list)
    done: bool = False


class Turn:
    """What came of one question: fed with events, it says when the turn is over."""

    def __init__(self, show: Show) -> None:
        self.transcript = ""
        self.marks: dict[str, float] = {}
        self.question_ended_at: float | None = None
        self.first_audio_at: float | None = None
        self.quiet_frames = 0
        self.resumptions = 0
        self._show = show
        self._answers: dict[str, _Answer] = {}
        self._unanswered = False  # something was said that no response has begun to answer

    @property
    def text(self) -> str:
        return " ".join(answer.text for answer in self._answers.values())

    @property
    def audio(self) -> Int16:
        """The answer, int16 (n,) at 24 kHz."""
        chunks = [chunk for answer in self._answers.values() for chunk in answer.audio]
        return np.concatenate([np.empty(0, np.int16), *chunks])

    @property
    def answered(self) -> bool:
        finished = [answer.done for answer in self._answers.values()]
        return bool(finished) and all(finished) and not self._unanswered

    @property
    def over(self) -> bool:
        """Whether the answer is complete; its timings are waited for, but not for ever."""
        return self.answered and (bool(self.marks) or self.quiet_frames >= TIMINGS_TIMEOUT_FRAMES)

    def handle(self, event: Event, now: float) -> None:
        """Take in what the server said at `now`.

        Raises:
            ParleyError: the server reports an error, or that its response failed.
        """
        self.quiet_frames = 0
        if event.error:
            raise event.error
        match event.type:
            case "input_audio_buffer.speech_started":
                self._unanswered = True
            case "conversation.item.input_audio_transcription.completed":
                self._heard(event["transcript"])
            case "conversation.item.input_audio_transcription.failed":
                raise ParleyError(f"recognition failed: {event['error']['message']}")
            case "response.created":
                self._unanswered = False
                self._answers[event["response"]["id"]] = _Answer()
            case "response.output_audio_transcript.delta":
                self._answers[event["response_id"]].text += event["delta"]
                self._show("parley", event["delta"])
            case "response.output_audio.delta":
                self._answers[event["response_id"]].audio.append(event.audio)
                self.first_audio_at = self.first_audio_at or now
            case "response.done":
                self._response_done(event["response"])
            case "parley.session.resumed":
                self.resumptions += 1
            case "parley.timings":
                if event.response_id in self._answers:
                    self.marks = event["marks"]

    def _heard(self, transcript: str) -> None:
        self.transcript = f"{self.transcript} {transcript}".strip()
        self._show("you", transcript)
        if not transcript.strip():
            self._unanswered = False  # a noise: nothing to answer

    def _response_done(self, response: dict[str, Any]) -> None:
        if response["status"] == "cancelled":
            # The question went on after a pause: another response answers all of it.
            del self._answers[response["id"]]
            self.first_audio_at = None
            return
        if response["status"] == "failed":
            error = (response.get("status_details") or {}).get("error") or {}
            raise ParleyError(f"the response failed: {error.get('message', 'no reason given')}")
        self._answers[response["id"]].done = True


async def ask(
    question: Int16,
    url: str,
    api_key: str | None,
    silence_ms: int,
    instructions: str | None,
    show: Show,
) -> Turn:
    """Ask `question`, int16 (n,) at 24 kHz, in a new session, as a microphone would.

    Raises:
        ParleyError: the server cannot be reached, reports an error or gives no answer.
    """
    turn = Turn(show)

    def microphone() -> Iterator[Int16]:
        yield from frames(question)
        turn.question_ended_at = time.monotonic()
        turn.quiet_frames = 0
        for frame in takewhile(lambda _: not turn.over, silence()):
            turn.quiet_frames += 1
            if turn.quiet_frames > ANSWER_TIMEOUT_FRAMES:
                raise ParleyError("the server gave no answer within 30 s")
            yield frame

    async with Parley(with_timings(url), api_key) as session:
        events = session.events()
        await session.update(**_configuration(silence_ms, instructions))
        await _configured(events)
        listening = asyncio.create_task(_listen(events, turn))
        speaking = asyncio.create_task(session.stream_audio(microphone()))
        try:
            await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
            # The listener first: it knows better than a failed write why the server went away.
            for task in (listening, speaking):
                if task.done():
                    task.result()
        finally:
            listening.cancel()
            speaking.cancel()
            await asyncio.gather(listening, speaking, return_exceptions=True)
    if not turn.over:
        raise ParleyError("the server ended the session before it answered")
    return turn


async def _listen(events: AsyncIterator[Event], turn: Turn) -> None:
    async for event in events:
        turn.handle(event, time.monotonic())


async def _configured(events: AsyncIterator[Event]) -> None:
    try:
        async with asyncio.timeout(UPDATE_TIMEOUT_S):
            async for event in events:
                if event.error:
                    raise event.error
                if event.type == "session.updated":
                    return
    except TimeoutError as error:
        raise ParleyError(
            f"the server did not confirm the session within {UPDATE_TIMEOUT_S} s"
        ) from error
    raise ParleyError("the server ended the session at once")


def _configuration(silence_ms: int, instructions: str | None) -> dict[str, Any]:
    pcm = {"type": "audio/pcm", "rate": SAMPLE_RATE}
    detection = {"type": "server_vad", "silence_duration_ms": silence_ms}
    session: dict[str, Any] = {
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": pcm,
                "transcription": {"model": "whisper-1"},
                "turn_detection": detection,
            },
            "output": {"format": pcm},
        },
    }
    return session if instructions is None else {**session, "instructions": instructions}


class _Printer:
    """Prints words as they come, and who says them where that changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._speaker: str | None = None

    def __call__(self, speaker: str, words: str) -> None:
        if speaker != self._speaker:
            self.end()
            self._console.print(f"{speaker:>6}  ", style="bold cyan", end="")
            self._speaker, words = speaker, words.lstrip()
        self._console.print(words, end="", markup=False, highlight=False, soft_wrap=True)

    def end(self) -> None:
        if self._speaker is not None:
            self._console.print()
        self._speaker = None


def say(
    question: Annotated[
        Path, typer.Argument(help="The question: a 16-bit WAV file, any rate.", dir_okay=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the answer's WAV file goes.")
    ] = Path("answer.wav"),
    url: Url = None,
    api_key: ApiKey = None,
    silence_ms: Annotated[
        int, typer.Option(min=0, help="Silence that ends the question, in ms.")
    ] = 300,
    instructions: Annotated[
        str | None, typer.Option(help="Instructions for the assistant, instead of its own.")
    ] = None,
    repeat: Annotated[
        int, typer.Option(min=1, help="Ask this many times, in a new session each.")
    ] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, for scripts.")
    ] = False,
) -> None:
    """Asks a recorded question, and shows the answer and where the time went.

    Examples:

      parley say question.wav

      parley say question.wav --output reply.wav --repeat 5

      parley say question.wav --json
    """
    samples, address = _question(question), server_url(url)
    console = Console(quiet=as_json)
    printer = _Printer(console)
    turns = []
    try:
        for _ in range(repeat):
            turn = asyncio.run(ask(samples, address, api_key, silence_ms, instructions, printer))
            printer.end()
            turns.append(turn)
            _report(turn, console)
    except ParleyError as error:
        printer.end()
        fail(explained(error))
    try:
        write_wav(output, turns[-1].audio, SAMPLE_RATE)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
    middle = median([waterfall(turn.marks) for turn in turns])
    if repeat > 1:
        console.print(table(middle, f"median of {repeat}"))
    if as_json:
        json.dump(_as_json(turns, middle), sys.stdout, indent=2, ensure_ascii=False)
        print()


def _question(path: Path) -> Int16:
    """The recording at `path`, int16 (n,) at 24 kHz."""
    try:
        samples, rate = read_wav(path)
    except AudioError as error:
        fail(f"{error}; save it as a WAV file with 16-bit samples")
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    return resample(samples, rate, SAMPLE_RATE)


def _report(turn: Turn, console: Console) -> None:
    if turn.resumptions:
        console.print("The connection broke, and the session was resumed.", style="yellow")
    if rows := waterfall(turn.marks):
        console.print(table(rows, "where the time went"))
    else:
        console.print("The server sent no timings, so there is no waterfall.", style="yellow")


def _as_json(turns: list[Turn], middle: list[Row]) -> dict[str, Any]:
    return {
        "turns": [
            {
                "transcript": turn.transcript,
                "answer": turn.text,
                "audio_s": round(len(turn.audio) / SAMPLE_RATE, 3),
                "first_audio_ms": _first_audio_ms(turn),
                "marks": turn.marks,
                "waterfall": [asdict(row) for row in waterfall(turn.marks)],
            }
            for turn in turns
        ],
        "median": [asdict(row) for row in middle],
    }


def _first_audio_ms(turn: Turn) -> int | None:
    """From the end of the recording to the answer's first audio, by the client's own clock."""
    if turn.first_audio_at is None or turn.question_ended_at is None:
        return None
    return round(1000 * (turn.first_audio_at - turn.question_ended_at))
