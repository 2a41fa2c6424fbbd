"""What must hold of every session, whatever happened to the processes. No I/O.

Each check takes a finished `Record` and what must have come of it, and returns what is wrong.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.chaos import speaking
from bench.chaos.record import Exchange, Record, Response
from client import SAMPLE_RATE
from shared.audio import Int16
from shared.messages import Item

_SPOKEN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
]
ITEM_EVENTS = {"spoken": _SPOKEN, "push_to_talk": _SPOKEN[2:], "typed": _SPOKEN[3:5]}
"""The events of a turn's item, in their order."""

DELTAS = ("response.output_audio_transcript.delta", "response.output_audio.delta")
RESPONSE_EVENTS = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]
"""The events of a response, in their order; deltas come in the middle of it, the first text at
once with the item. One that is cancelled before it has text begins and ends, and has no item."""
_BEFORE_DELTAS = 4
_WITHOUT_ITEM = [RESPONSE_EVENTS[0], RESPONSE_EVENTS[-1]]

# A word that the client has all but the end of may count as heard.
_HEARD_SLACK_S = 0.2
_CHARACTER_S = 0.02


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be: `lost`, `duplicated`, or `wrong` in another way.

    `session` is the session's number and `turn` the turn's in its script, None where it is none's.
    """

    kind: Literal["lost", "duplicated", "wrong"]
    session: int | None
    turn: int | None
    what: str


Found = Callable[[Literal["lost", "duplicated", "wrong"], str], None]


def check(
    record: Record, transcripts: Sequence[str] | None, history: Sequence[Item]
) -> list[Violation]:
    """Everything that is wrong with a session.

    `transcripts` are those that its audio must come to, one for each turn that was not typed;
    None where real engines are at work, whose transcripts, answers and audio nobody can foretell.
    `history` is the conversation as the broker holds it at the end.
    """
    violations: list[Violation] = []

    def found(kind: Literal["lost", "duplicated", "wrong"], what: str) -> None:
        violations.append(Violation(kind, record.number, turn, what))

    turn: int | None = None
    _check_session(record, found)
    spoken = iter(transcripts or ())
    for exchange in record.exchanges:
        turn = exchange.turn.number
        if transcripts is None:
            said = None
        elif exchange.turn.way == "typed":
            said = exchange.turn.text
        else:
            said = next(spoken, "")
        _check_exchange(exchange, said, found)
    turn = None
    if not record.broke:
        _check_history(record, history, found)
    return violations


def _check_session(record: Record, found: Found) -> None:
    if record.broke:
        found("lost", f"the conversation ended early: {record.broke}")
    ids = Counter(event.fields.get("event_id") for _, event in record.events)
    for event_id, times in ids.items():
        if times > 1:
            found("duplicated", f"event {event_id!r} came {times} times")
    for stranger in record.strangers:
        found("wrong", stranger)
    forgivable = sum(each.turn.ending == "cancelled" for each in record.exchanges)
    for event in record.errors:
        if event["error"]["code"] == "response_cancel_not_active" and forgivable:
            forgivable -= 1  # the answer was over before the cancel came
            continue
        found("wrong", f"error event: {event['error']}")


def _check_exchange(exchange: Exchange, said: str | None, found: Found) -> None:
    expected = ITEM_EVENTS[exchange.turn.way]
    if exchange.kinds != expected:
        kind: Literal["lost", "duplicated", "wrong"] = "wrong"
        if len(exchange.kinds) != len(expected):
            kind = "lost" if len(exchange.kinds) < len(expected) else "duplicated"
        found(kind, f"the turn's events are {_short(exchange.kinds)}")
    if said is not None and exchange.transcript is not None:
        if said != exchange.transcript:
            found("wrong", f"heard {exchange.transcript!r} of {said!r}")
        said = exchange.transcript  # the answer must be to what was heard
    if not exchange.done:
        found("lost", "the turn was not answered")
    if len(exchange.responses) > 1:
        ids = [response.response_id for response in exchange.responses]
        found("duplicated", f"the turn was answered {len(ids)} times: {ids}")
    for response in exchange.responses:
        if response.done:
            _check_order(response, found)
            _check_text(response, exchange, found)
            if said is not None:
                _check_answer(response, speaking.answer(said), found)


def _check_order(response: Response, found: Found) -> None:
    steps = [kind for kind in response.kinds if kind not in DELTAS]
    between = response.kinds[_BEFORE_DELTAS : _BEFORE_DELTAS + len(response.kinds) - len(steps)]
    if response.status == "cancelled" and response.kinds == _WITHOUT_ITEM:
        return
    if steps != RESPONSE_EVENTS or not set(between) <= set(DELTAS) or between[:1] != [DELTAS[0]]:
        found("wrong", f"the response's events are {_short(response.kinds)}")


def _check_text(response: Response, exchange: Exchange, found: Found) -> None:
    """It ended as it should have, with the text that came before."""
    text = "".join(response.deltas)
    if response.status in ("completed", "incomplete"):
        if response.text != text:
            found("wrong", f"the transcript {response.text!r} is not the deltas' {text!r}")
        if not response.chunks:
            found("lost", f"{text!r} was not spoken")
    elif response.status != "cancelled" or exchange.turn.ending == "heard":
        found("lost", f"the response ended as {response.status!r}")
    elif not text.startswith(response.text):
        found("wrong", f"heard {response.text!r} of {text!r}")


def _check_answer(response: Response, whole: str, found: Found) -> None:
    """What the `instant` engines answer and speak, or a beginning of it if it was cut off."""
    text, audio = "".join(response.deltas), response.audio
    expected = speaking.audio(whole)
    if response.status == "cancelled":
        if not whole.startswith(text):
            found("wrong", f"answered {text!r}, which does not begin {whole!r}")
        if len(response.text) * _CHARACTER_S > len(audio) / SAMPLE_RATE + _HEARD_SLACK_S:
            found("wrong", f"heard {response.text!r} in {response.audio_ms} ms of audio")
        expected = expected[: len(audio)]
    elif text != whole:
        found(_of_lengths(len(text), len(whole)), f"answered {text!r} instead of {whole!r}")
    _check_audio(audio, expected, found)


def _check_audio(got: Int16, expected: Int16, found: Found) -> None:
    if np.array_equal(got, expected):
        return
    shared = min(len(got), len(expected))
    differ = np.flatnonzero(got[:shared] != expected[:shared])
    at = int(differ[0]) if len(differ) else shared
    found(
        _of_lengths(len(got), len(expected)),
        f"{len(got)} samples of audio instead of {len(expected)}; from sample {at} on they are"
        f" {got[at : at + 4].view(np.uint16).tolist()}"
        f" instead of {expected[at : at + 4].view(np.uint16).tolist()}",
    )


def _of_lengths(got: int, expected: int) -> Literal["lost", "duplicated", "wrong"]:
    if got == expected:
        return "wrong"
    return "lost" if got < expected else "duplicated"


def _check_history(record: Record, history: Sequence[Item], found: Found) -> None:
    """The conversation that the broker holds is the one that the client had."""
    had = [(said.item_id, said.role, said.text) for said in record.items]
    holds = [(item.item_id, item.role, item.text) for item in history]
    for mine, held in zip(had, holds, strict=False):
        if mine != held:
            found("wrong", f"the history says {held}, the client {mine}")
    if len(had) != len(holds):
        kind = _of_lengths(len(holds), len(had))
        found(kind, f"the history has {len(holds)} items, the client {len(had)}")


def _short(kinds: Sequence[str]) -> str:
    """Event types in a line, deltas counted."""
    line: list[str] = []
    for kind in kinds:
        name = kind.split(".", 1)[1] if "." in kind else kind
        if line and line[-1].partition(" ×")[0] == name:  # noqa: RUF001
            times = int(line[-1].partition(" ×")[2] or 1) + 1  # noqa: RUF001
            line[-1] = f"{name} ×{times}"  # noqa: RUF001
        else:
            line.append(name)
    return ", ".join(line)
