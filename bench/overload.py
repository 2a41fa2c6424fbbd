"""Whether those who talk notice it when many more come than a server can carry.

    python -m bench.overload
    python -m bench.overload --bottleneck stt --json overload.json

Engines of stated service times make the server's capacity known. Sessions that take 70 % of it
talk, each asking every ten seconds. Then, for a minute, newcomers who would take four times the
capacity connect one after another, whatever becomes of those before them, and whoever gets in
talks alike. Compared is what those who talked already wait for their answers, before and during
that minute; and the same where everybody is let in.
"""

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from bench.load.question import original
from bench.load.record import Ended, Record, Turn
from bench.load.run import run
from bench.load.scenario import Scenario
from bench.load.server import serving
from bench.load.summary import Spread, spread

QUESTION = Path(__file__).parent.parent / "tests" / "data" / "question.wav"
EVERY_S = 10.0
CAPACITY = 60
"""Sessions that ask so often of which the bottleneck could just do all work, never idle."""

NEWCOMERS = 4 * CAPACITY
"""Who come in a minute."""

_TALKING = round(0.7 * CAPACITY)
_BEFORE_TURNS = 3  # of which the first warms up
_BEFORE_S = 35.0  # until all have asked so often
_CROWD_S = 60.0
_DURING_TURNS = round(_CROWD_S / EVERY_S)


class Bottleneck(StrEnum):
    """The stage that makes the capacity what it is."""

    llm = "llm"
    stt = "stt"
    tts = "tts"


# Six answers a second, of 16 words, that take 1.6 s to say.
_SERVICE: dict[str, dict[str, str | int]] = {
    "stt": {"paced_stt_ms": 167},
    "llm": {"llm_slots": 16, "paced_token_ms": 167},
    "tts": {"tts_slots": 4, "paced_tts_speed": "2.4"},
}
_AMPLE: dict[str, str | int] = {
    "paced_stt_ms": 17,
    **{"llm_slots": 16, "paced_token_ms": 17},
    **{"tts_slots": 4, "paced_tts_speed": 24},
}


class Outcome(msgspec.Struct, kw_only=True):
    """What became of both: times in ms from the end of speech to the first audio of the answer,
    for the turns of those who talked already. `unanswered` of them had no audio until the next
    question, and count as if it had come then. `lost` are the newcomers who were neither let in nor
    refused in time."""

    before: Spread
    during: Spread
    ratio: float
    unanswered: int
    refused: int
    let_in: int
    lost: int


class Result(Outcome, kw_only=True):
    """With admission; and without, where everybody is let in."""

    bottleneck: str
    capacity: int
    talking: int
    without: Outcome


def _scenario(*, sessions: int, turns: int, ramp_s: float = 0.0) -> Scenario:
    """Of the protocol that costs clients and gateway least: what is to be short are slots."""
    return Scenario(
        sessions=sessions, turns=turns, ramp_s=ramp_s, every_s=EVERY_S, protocol="original"
    )


async def measure(bottleneck: str, *, admission: bool) -> Outcome:
    """Runs a server, those who talk and those who come.

    Raises:
        NotReady, GeneratorFailed: as in `bench.load`.
        ValueError: the server was not fit to be measured.
    """
    settings = {"silence_ms": 300, **_AMPLE, **_SERVICE[bottleneck]}
    if not admission:
        settings |= {"queue_limit_ms": 0}
    async with serving("paced", **settings) as server:
        talked: list[Record] = []
        came: list[Record] = []
        talking = _scenario(sessions=_TALKING, turns=_BEFORE_TURNS + _DURING_TURNS)
        coming = _scenario(sessions=NEWCOMERS, turns=_DURING_TURNS, ramp_s=_CROWD_S)
        async with asyncio.TaskGroup() as tasks:
            whole = run(talking, server.url, QUESTION, None, None, talked.append)
            talk = tasks.create_task(whole, name="those who talk")
            await asyncio.sleep(_BEFORE_S)
            crowd_s = time.time()
            arriving = run(coming, server.url, QUESTION, None, None, came.append)
            crowd = tasks.create_task(arriving, name="those who come")
            await talk
            crowd.cancel()
    return outcome(talked, came, crowd_s)


def outcome(talked: list[Record], came: list[Record], crowd_s: float) -> Outcome:
    """Sums up the records of those who talk and of those who came from `crowd_s` on.

    Raises:
        ValueError: those who talk could not.
    """
    turns = [r for r in talked if isinstance(r, Turn) and r.number >= 1 and r.asked_s]
    before = spread(_waited_ms(turn) for turn in turns if turn.asked_s < crowd_s)
    during = spread(_waited_ms(turn) for turn in turns if turn.asked_s >= crowd_s)
    broken = [r.problem for r in talked if isinstance(r, Ended) and r.problem]
    if broken or before is None or during is None:
        raise ValueError(f"those who talk must be let in and may talk to the end: {broken[:1]}")
    ends = [record for record in came if isinstance(record, Ended)]
    refused = sum(end.refused for end in ends)
    lost = sum(bool(end.problem) and not end.refused for end in ends)
    return Outcome(
        before=before,
        during=during,
        ratio=during.p95 / before.p95,
        unanswered=sum(turn.audio_ms is None for turn in turns),
        refused=refused,
        let_in=NEWCOMERS - refused - lost,
        lost=lost,
    )


def _waited_ms(turn: Turn) -> float:
    if turn.audio_ms is not None:
        return turn.audio_ms
    return 1000 * (EVERY_S - original(QUESTION).seconds)


def page(result: Result) -> str:
    """The result in Markdown."""
    outcomes = (result, result.without)

    def row(name: str, *cells: str) -> str:
        return f"| {name} | {' | '.join(cells)} |"

    return "\n".join(
        [
            f"{result.talking} sessions talk, {result.capacity} could, and {NEWCOMERS} come in a"
            f" minute; what bounds them is {result.bottleneck}.",
            "",
            "| voice to voice of those who talk | with admission | everybody let in |",
            "| --- | ---: | ---: |",
            row("p50 before, ms", *(f"{each.before.p50:.0f}" for each in outcomes)),
            row("p95 before, ms", *(f"{each.before.p95:.0f}" for each in outcomes)),
            row("p50 while they come, ms", *(f"{each.during.p50:.0f}" for each in outcomes)),
            row("p95 while they come, ms", *(f"{each.during.p95:.0f}" for each in outcomes)),
            row("p95, while to before", *(f"{each.ratio:.2f}" for each in outcomes)),
            row("turns without an answer", *(str(each.unanswered) for each in outcomes)),
            row("newcomers let in", *(str(each.let_in) for each in outcomes)),
            row("newcomers refused", *(str(each.refused) for each in outcomes)),
            row("newcomers who waited in vain", *(str(each.lost) for each in outcomes)),
        ]
    )


async def compare(bottleneck: str) -> Result:
    """Measures with admission and without. Raises as `measure` does."""
    admitted = await measure(bottleneck, admission=True)
    return Result(
        bottleneck=bottleneck,
        capacity=CAPACITY,
        talking=_TALKING,
        without=await measure(bottleneck, admission=False),
        **msgspec.structs.asdict(admitted),
    )


def main(
    bottleneck: Annotated[
        Bottleneck, typer.Option(help="The stage that bounds the capacity.")
    ] = Bottleneck.llm,
    json: Annotated[
        Path | None, typer.Option(help="Where the result goes, as JSON.", dir_okay=False)
    ] = None,
) -> None:
    result = asyncio.run(compare(bottleneck.value))
    print(page(result))
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))


if __name__ == "__main__":
    typer.run(main)
