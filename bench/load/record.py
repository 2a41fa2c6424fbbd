"""What a caller writes down."""

import msgspec


class Turn(msgspec.Struct, kw_only=True, tag="turn"):
    """One question and what came of it.

    Times in ms count from when the last sample of speech was sent; None is never. `stop_ms` counts
    from the first sample of an interruption to when the old answer was heard no more. `jitter_ms`
    is the answer's interarrival jitter. `marks` are the server's own, where it tells them.
    `problem` says why there was no answer.
    """

    session: int
    number: int
    asked_s: float = 0.0
    transcript_ms: float | None = None
    text_ms: float | None = None
    audio_ms: float | None = None
    stop_ms: float | None = None
    audio_s: float = 0.0
    underruns: int = 0
    underrun_ms: float = 0.0
    jitter_ms: float = 0.0
    marks: dict[str, int] = {}
    problem: str = ""


class Ended(msgspec.Struct, kw_only=True, tag="ended"):
    """A session that is over. `refused` says that the server did not let it in, `problem` why it
    ended before its time."""

    session: int
    refused: bool = False
    problem: str = ""


class Pulse(msgspec.Struct, kw_only=True, tag="pulse"):
    """How a process of callers did for `seconds`: the CPU time that it took, and in ms how late
    its event loop came back each time it had asked to be woken."""

    seconds: float
    cpu_s: float
    late_ms: list[float]


Record = Turn | Ended | Pulse
