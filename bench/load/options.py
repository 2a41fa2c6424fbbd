"""The options of `parley bench`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


class Arrival(StrEnum):
    """When the sessions of a run ask."""

    together = "together"
    staggered = "staggered"


class Protocol(StrEnum):
    """What a server speaks: OpenAI's Realtime protocol, or that of the original deployment."""

    realtime = "realtime"
    original = "original"


Question = Annotated[
    Path, Argument(help="What the callers ask: a 16-bit WAV file.", dir_okay=False)
]
Url = Annotated[str | None, Option(help="The server. Without one, a `parley up` is started.")]
Profile = Annotated[str, Option(help="Its engines, where one is started.")]
Pid = Annotated[int | None, Option(help="Process id of the server, if it is on this machine.")]
RedisUrl = Annotated[
    str | None, Option(help="Its broker, to count commands.", envvar="PARLEY_REDIS_URL")
]
ApiKey = Annotated[str | None, Option(help="The server's API key.", envvar="PARLEY_API_KEY")]
Speaks = Annotated[Protocol, Option(help="What is spoken.")]
Sessions = Annotated[str, Option(help="How many at once; several runs are separated by commas.")]
Turns = Annotated[int, Option(help="Questions of each session.", min=1)]
WarmUp = Annotated[int, Option(help="Of these, how many do not count.", min=0)]
Arrives = Annotated[Arrival, Option(help="Whether all ask at the same instant.")]
Ramp = Annotated[float, Option(help="Over how long the sessions arrive.", min=0)]
Every = Annotated[
    float | None, Option(help="A question begins so long after the last, answered or not.")
]
Pause = Annotated[float, Option(help="Else: so long after an answer was heard.", min=0)]
Interrupt = Annotated[int, Option(help="Every so many-th answer is talked over; 0 is none.", min=0)]
Silence = Annotated[int, Option(help="Silence that ends a question.", min=0)]
Capacity = Annotated[
    float | None,
    Option(help="Search the most sessions whose p95 of voice to voice is within this."),
]
Output = Annotated[Path | None, Option("--output", "-o", help="Where the result goes, as JSON.")]
Report = Annotated[Path | None, Option(help="Where the report goes, as HTML.")]
Pictures = Annotated[Path | None, Option(help="Where its plots go, as PNG.")]
