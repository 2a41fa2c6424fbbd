"""What is measured for docs/performance.md: which tools run, with which arguments."""

from dataclasses import dataclass

QUESTION = "tests/data/question.wav"
"""3.6 s of speech; it is answered in a sentence."""

VOICE_TO_VOICE_MS = 2_500
"""What the 95th percentile may be at most where capacity is searched."""


@dataclass(frozen=True, slots=True)
class Step:
    """One run of a tool. Its result is kept by its name, which begins with its part's; `minutes`
    is about how long it takes on two cores, `keep` the option that says where its JSON goes."""

    name: str
    minutes: float
    module: str
    arguments: tuple[str, ...] = ()
    keep: str = "--json"

    @property
    def part(self) -> str:
        return self.name.partition("-")[0]

    @property
    def command(self) -> str:
        """As somebody would type it."""
        return " ".join(("python -m", self.module, *self.arguments))


def _load(name: str, minutes: float, arguments: str) -> Step:
    return Step(name, minutes, "bench.load", (QUESTION, *arguments.split()), "--output")


# A silence of ten of the VAD's windows: of one that is none of them more would be waited for.
_PLUMBING = "--profile instant --silence-ms 320"

STEPS = (
    _load(
        "plumbing-together",
        1.8,
        f"{_PLUMBING} --sessions 10,100 --arrival together --every-s 10 --turns 5",
    ),
    _load(
        "plumbing-realtime",
        2.2,
        f"{_PLUMBING} --sessions 10,100,150,200,300 --every-s 8 --turns 3",
    ),
    _load(
        "plumbing-original",
        2.0,
        f"{_PLUMBING} --protocol original --sessions 100,300,400,500 --every-s 8 --turns 3",
    ),
    Step("vad", 1.1, "bench.vad", ("--sessions", "10,100,300", "--seconds", "10")),
    Step("stt", 6.0, "bench.recognition", ("--noises", "babble")),
    Step("llm", 0.4, "bench.tokens", ("--requests", "1", "--requests", "4")),
    Step("tts", 0.6, "bench.speech"),
    _load("whole-one", 3.3, "--turns 28 --pause-s 0"),
    _load("whole-four", 1.5, "--sessions 4 --arrival together --every-s 10 --turns 8"),
    _load("whole-interrupted", 0.8, "--turns 8 --interrupt 1"),
    _load(
        "whole-capacity",
        4.5,
        f"--sessions 4 --every-s 10 --turns 4 --capacity-ms {VOICE_TO_VOICE_MS}",
    ),
    Step("overload", 3.9, "bench.overload"),
    Step("idle", 0.5, "bench.idle", ("--seconds", "20")),
    Step("micro", 1.2, "pytest", ("bench/micro",), "--benchmark-json"),
)

PARTS = tuple(dict.fromkeys(step.part for step in STEPS))
