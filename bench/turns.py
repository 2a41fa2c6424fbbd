"""What it costs to ask whether a turn is over, and how often the answer is right:
`python -m bench.turns`, with the starter pack.

Recordings of whole sentences should be over; the same cut at 40, 60 and 80 % of their length should
not, although some of them, such as counting to two of four, could be.
"""

import statistics
import time
from collections.abc import Iterator

import numpy as np
import psutil
import typer
from faster_whisper.audio import decode_audio

from shared.audio import SAMPLE_RATE, Int16, to_int16
from shared.models import resolve
from shared.settings import Settings
from workers.vad.engines import TURN_SAMPLES, TurnEngine, create

_CUTS = (0.4, 0.6, 0.8)
_SILENCES_MS = (100, 200, 300, 500, 1000, 2000)
_SOUND = 300  # of int16: the recordings are quieter than this before and after the words
_LEAD = SAMPLE_RATE // 5
_ROUNDS = 30


def main() -> None:
    settings = Settings()
    engine = create(settings).turns
    engine.load()
    whole = list(_sentences(settings))
    cut = [turn[: _LEAD + int(part * (len(turn) - _LEAD))] for turn in whole for part in _CUTS]
    _cost(engine, whole[0])
    print(f"right after a silence of {', '.join(map(str, _SILENCES_MS))} ms")
    for name, turns, over in (("whole", whole, True), ("cut", cut, False)):
        shares = (_right(engine, turns, silence_ms, over) for silence_ms in _SILENCES_MS)
        print(f"  {name:5} of {len(turns)}", *(f"{share:5.0%}" for share in shares))


def _cost(engine: TurnEngine, turn: Int16) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    started_s = time.perf_counter()
    engine.over([turn])
    first_ms = 1000 * (time.perf_counter() - started_s)
    wall_ms, cpu_ms = [], []
    for _ in range(_ROUNDS):
        started_s, cpu_s = time.perf_counter(), time.process_time()
        engine.over([turn])
        wall_ms.append(1000 * (time.perf_counter() - started_s))
        cpu_ms.append(1000 * (time.process_time() - cpu_s))
    grown = (process.memory_info().rss - before) / 2**20
    print(f"first question {first_ms:.0f} ms; it takes {grown:.0f} MiB")
    print(
        f"a question: median {statistics.median(wall_ms):.0f} ms, best {min(wall_ms):.0f} ms;"
        f" processor median {statistics.median(cpu_ms):.0f} ms"
    )


def _sentences(settings: Settings) -> Iterator[Int16]:
    """Each recording of the pack from a little before its words to their end."""
    for path in sorted(resolve("speech-samples", settings.models_dir).glob("*/*.wav")):
        audio = to_int16(decode_audio(str(path), sampling_rate=SAMPLE_RATE))
        sound = np.flatnonzero(np.abs(audio.astype(np.int32)) > _SOUND)
        yield np.concatenate([np.zeros(_LEAD, np.int16), audio[sound[0] : sound[-1] + 1]])


def _right(engine: TurnEngine, turns: list[Int16], silence_ms: int, over: bool) -> float:
    silence = np.zeros(silence_ms * SAMPLE_RATE // 1000, np.int16)
    heard = [np.concatenate([turn, silence])[-TURN_SAMPLES:] for turn in turns]
    return statistics.mean((float(engine.over([turn])[0]) >= 0.5) == over for turn in heard)


if __name__ == "__main__":
    typer.run(main)
