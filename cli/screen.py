"""What `parley talk` shows: what is being said at the bottom of the terminal, what was said above.

Everything that a server says is shown on its own lines and without control characters.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cli.console import console
from cli.transcript import Entry, State
from shared.logs import printable
from shared.waterfall import parts

_METER_COLUMNS = 16
_LABEL_COLUMNS = 8
_NARROWEST = 20
_KEYS = "Tab mutes · type and press Enter to write · Ctrl-C ends"
# What a turn's line calls what ends at each mark.
_STAGES = {
    "turn_end": "pause",
    "stt_start": "recognition",
    "stt_end": "recognition",
    "llm_start": "model",
    "llm_first_token": "model",
    "llm_first_segment": "model",
    "tts_start": "speech",
    "tts_first_chunk": "speech",
    "audio_out": "delivery",
}


@dataclass(frozen=True)
class Status:
    """How things stand: levels from 0 to 1, and what is being written."""

    connected: bool
    muted: bool
    you: float
    parley: float
    underruns: int
    lost_s: float
    written: str


class Screen:
    """Lines that stay, and below them a live part, which is drawn anew only where it has changed.

    Use as a context manager.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn: list[Text] = []

    def __enter__(self) -> "Screen":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def keep(self, entry: Entry) -> None:
        """Prints what will not change any more."""
        said = lines(entry, self._console.width)
        if told := timing(entry.marks):
            said.append(_beside(told, "dim"))
        self._console.print(Group(*said))

    def say(self, sentence: str, style: str) -> None:
        """Prints what happens beside the conversation."""
        self._console.print(_beside(printable(sentence), style))

    def draw(self, entries: Sequence[Entry], status: Status) -> None:
        """Shows what is being said, and how things stand."""
        width, height = self._console.size
        foot = [Text(), _meters(status), _prompt(status, width)]
        said = [line for entry in entries for line in lines(entry, width)]
        drawn = [*said[-max(1, height - len(foot) - 1) :], *foot]
        if drawn != self._drawn:
            self._drawn = drawn
            self._live.update(Group(*drawn), refresh=True)


def lines(entry: Entry, width: int) -> list[Text]:
    """An entry in lines of at most `width` columns: who speaks, and the words beside that."""
    body = _words(entry).wrap(console, max(width, _NARROWEST) - _LABEL_COLUMNS)
    label, beside = f"{entry.speaker:>{_LABEL_COLUMNS - 2}}  ", " " * _LABEL_COLUMNS
    return [
        Text.assemble((beside if number else label, "bold cyan"), line)
        for number, line in enumerate(body)
    ]


def timing(marks: Mapping[str, float]) -> str:
    """Where a turn's time went, in one line, from its marks in ms; "" if they do not tell."""
    spent: dict[str, float] = {}
    for part in parts(marks):
        stage = _STAGES[part.mark]
        spent[stage] = spent.get(stage, 0) + part.duration_ms
    if not spent:
        return ""
    told = ", ".join(f"{stage} {duration_ms:.0f}" for stage, duration_ms in spent.items())
    return f"{sum(spent.values()):.0f} ms: {told}"


def _words(entry: Entry) -> Text:
    text = _line(entry.text)
    match entry.state:
        case State.FAILED:
            return Text(text) + Text(f" {printable(entry.problem)}", "red")
        case State.CUT:
            heard = _line(entry.heard)
            rest = text.removeprefix(heard) if text.startswith(heard) else " …"
            return Text(heard) + Text(rest, "dim strike")
        case State.SPEAKING | State.AWAITED if not text:
            return Text("…", "dim")
    return Text(text)


def _line(text: str) -> str:
    return printable(re.sub(r"\s+", " ", text)).lstrip()


def _meters(status: Status) -> Text:
    line = Text("   you  ") + _meter(0.0 if status.muted else status.you)
    line += Text("   parley  ") + _meter(status.parley) + Text("   ")
    if not status.connected:
        return line + Text("connecting again …", "bold yellow")
    if status.muted:
        return line + Text("muted", "bold yellow")
    if status.lost_s:
        return line + Text(f"{status.lost_s:.1f} s of sound lost", "red")
    return line + Text(f"gaps: {status.underruns}" if status.underruns else "", "dim")


def _meter(level: float) -> Text:
    loud = round(level * _METER_COLUMNS)
    return Text.assemble(("█" * loud, "green"), ("░" * (_METER_COLUMNS - loud), "dim"))


def _prompt(status: Status, width: int) -> Text:
    if not status.written:
        return Text(f"{' ' * _LABEL_COLUMNS}{_KEYS}"[:width], "dim")
    shown = printable(status.written)[-max(1, width - _LABEL_COLUMNS - 1) :]
    return Text.assemble((f"{' write':<{_LABEL_COLUMNS}}", "bold cyan"), f"{shown}▏")


def _beside(text: str, style: str) -> Text:
    return Text(f"{' ' * _LABEL_COLUMNS}{text}", style)
