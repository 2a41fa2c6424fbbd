"""Speech recognition against faster-whisper's defaults: word errors and time.

    python -m bench.recognition
    python -m bench.recognition --models whisper-tiny.en --json recognition.json

Each recording of the starter pack is cut into turns as a session hears them, and each turn
recognised twice: by Parley's engine and by `WhisperModel.transcribe` with its defaults, on the same
weights in the same precision with as many threads. Neither is told the language. Turns are cut in
quiet, and the noise is the same for both. Prints Markdown.

Clean turns are recognised one after the other, which times them. Noisy ones are there for the words
only: several at once, one on each core with one thread.
"""

import json
import os
import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import jiwer
import numpy as np
import typer
from faster_whisper import WhisperModel
from rich.console import Console
from rich.progress import track

from bench import recordings
from bench.recordings import Noises, Recording
from shared.audio import SAMPLE_RATE, Float32, Int16, to_float32
from shared.models import resolve
from shared.settings import Settings
from workers.stt.engines import SttEngine, Utterance
from workers.stt.engines import create as create_stt
from workers.vad.engines import create as create_vad

_MODELS = ("whisper-base", "whisper-tiny.en")
_SNRS_DB = (20, 10, 5)
_LENGTHS_S = (0, 2, 3, 4, 6, 30)
_BATCHES = (1, 2, 4, 8)
_BOOTSTRAP = 4000
_TO_TEN = {
    "en": "one two three four five six seven eight nine ten",
    "es": "uno dos tres cuatro cinco seis siete ocho nueve diez",
    "fr": "un deux trois quatre cinq six sept huit neuf dix",
    "hi": "एक दो तीन चार पांच छह सात आठ नौ दस",
    "it": "uno due tre quattro cinque sei sette otto nove dieci",
    "ja": "一 二 三 四 五 六 七 八 九 十",
    "pl": "jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć",
    "pt": "um dois três quatro cinco seis sete oito nove dez",
    "zh": "一 二 三 四 五 六 七 八 九 十",
}
_NUMBER = re.compile("10|[1-9]")
_UNSPACED = {"ja", "zh"}

T = TypeVar("T")
P = ParamSpec("P")
progress = Console(stderr=True)


class Noise(StrEnum):
    """Kinds of noise: that of most places, and people talking."""

    pink = "pink"
    babble = "babble"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recording under one condition, as turns: int16 (n,) at 16 kHz each."""

    recording: Recording
    condition: str
    turns: list[Int16]


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of a turn, and what it took; of noisy turns the clock's time says nothing."""

    text: str
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A turn as both heard it; `full_window` where Parley had to recognise it a second time."""

    model: str
    speakers: str
    language: str
    condition: str
    recording: str
    said: str
    seconds: float
    full_window: bool
    parley: Heard
    defaults: Heard


def main(
    models: Annotated[list[str] | None, typer.Option(help="Whisper models to compare.")] = None,
    noises: Annotated[
        list[Noise] | None, typer.Option(help="Kinds of noise; without it, all.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where to write all of it.")
    ] = None,
) -> None:
    config = Settings()
    spoken = list(conditions(config, noises or list(Noise)))
    compared: list[Compared] = []
    batches: dict[str, dict[int, float]] = {}
    for model in models or _MODELS:
        chosen = config.model_copy(update={"stt_engine": "whisper", "stt_model": model})
        engine = create_stt(chosen)
        engine.load()
        heard = [one for one in spoken if one.recording.language in engine.languages]
        clean = [one for one in heard if one.condition == "clean"]
        compared.extend(compare(chosen, engine, track(clean, model, console=progress)))
        batches[model] = batch_costs(engine, clean)
        engine.close()
        noisy = [one for one in heard if one.condition != "clean"]
        with progress.status(f"{model}, {len(noisy)} noisy recordings"):
            compared.extend(on_all_cores(chosen, noisy))
    print(f"{config.stt_threads} threads\n")
    print(f"{table(compared)}\n\n{by_length(compared)}\n\n{by_batch(batches)}")
    if json_file is not None:
        rows = {"turns": [asdict(row) for row in compared], "batches": batches}
        json_file.write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")


def conditions(config: Settings, kinds: Sequence[Noise]) -> Iterator[Spoken]:
    """Every recording as it is, and with each kind of noise at each distance."""
    vad = create_vad(config).vad
    vad.load()
    everything = [*recordings.samples(config), *recordings.readers(config)]
    for number, recording in enumerate(everything):
        cuts = recordings.turns(recording.audio, vad)
        whole = recordings.quiet_around(recording.audio)
        level = recordings.loudness(np.concatenate([whole[cut.start : cut.end] for cut in cuts]))
        others = [other.audio for other in everything if other is not recording]
        for condition, noise, snr_db in _noises(Noises(number, others), kinds, len(whole)):
            audio = recordings.mixed(whole, noise, level, snr_db)
            yield Spoken(recording, condition, [audio[cut.start : cut.end] for cut in cuts])
    vad.close()


def _noises(
    noises: Noises, kinds: Sequence[Noise], length: int
) -> Iterator[tuple[str, Float32, float]]:
    yield "clean", np.zeros(length, np.float32), 0
    for snr_db in _SNRS_DB:
        for kind in kinds:
            make = noises.pink if kind is Noise.pink else noises.babble
            yield f"{kind} {snr_db} dB", make(length), snr_db


def on_all_cores(config: Settings, spoken: Sequence[Spoken]) -> Iterator[Compared]:
    """Both hear each turn of the recordings, of which each core has its share."""
    cores = os.cpu_count() or 1
    shares = [spoken[core::cores] for core in range(cores)]
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        alone = config.model_copy(update={"stt_threads": 1})
        for compared in pool.map(partial(_share, alone), shares):
            yield from compared


def _share(config: Settings, spoken: Sequence[Spoken]) -> list[Compared]:
    engine = create_stt(config)
    engine.load()
    compared = list(compare(config, engine, spoken))
    engine.close()
    return compared


def compare(config: Settings, engine: SttEngine, spoken: Iterable[Spoken]) -> Iterator[Compared]:
    """Both hear each turn, one after the other."""
    defaults = WhisperModel(
        str(resolve(engine.model, config.models_dir)),
        device="cpu",
        compute_type="int8",
        cpu_threads=config.stt_threads,
    )
    for one in spoken:
        for pcm in one.turns:
            [transcript], *ours = timed(engine.transcribe, [Utterance(pcm)])
            text, *theirs = timed(_by_default, defaults, pcm)
            yield Compared(
                engine.model,
                one.recording.speakers,
                one.recording.language,
                one.condition,
                one.recording.name,
                one.recording.text,
                len(pcm) / SAMPLE_RATE,
                transcript.full_window,
                Heard(transcript.text, *ours),
                Heard(text, *theirs),
            )


def timed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float, float]:
    """What `work` gives, and the processor's and the clock's seconds for it."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    result = work(*args, **kwargs)
    return result, time.process_time() - cpu_s, time.perf_counter() - wall_s


def _by_default(model: WhisperModel, pcm: Int16) -> str:
    segments, _ = model.transcribe(to_float32(pcm))
    return "".join(segment.text for segment in segments).strip()


def batch_costs(engine: SttEngine, spoken: Sequence[Spoken]) -> dict[int, float]:
    """Processor seconds for each of eight turns of 2 to 6 s, by how many go together."""
    turns = [
        Utterance(pcm, one.recording.language)
        for one in spoken
        for pcm in one.turns
        if 2 <= len(pcm) / SAMPLE_RATE <= 6
    ][: max(_BATCHES)]
    costs = {}
    for size in _BATCHES:
        batches = [turns[start : start + size] for start in range(0, len(turns), size)]
        _, cpu_s, _ = timed(list, map(engine.transcribe, batches))
        costs[size] = cpu_s / len(turns)
    return costs


# --- word errors ---


def word_error_rate(rows: Sequence[Compared], side: str) -> tuple[int, float]:
    """How many words were said, and of them the share heard wrong, left out or added."""
    said, wrong = errors(rows, side)
    return said, sum(wrong) / said


def errors(rows: Sequence[Compared], side: str) -> tuple[int, list[int]]:
    """How many words were said, and how many each turn has wrong, too few or too many.

    A recording's turns are held against its text together: where one of them ends, the text does
    not say. An error belongs to the turn in which the aligned words differ; a word that was left
    out, to that of the next word heard.
    """
    recordings: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        key = (row.model, row.speakers, row.language, row.recording, row.condition, row.said)
        recordings[key].append(index)
    said, wrong = 0, [0] * len(rows)
    for (_, _, language, _, _, text), turns in recordings.items():
        heard = [words(getattr(rows[turn], side).text, language).split() for turn in turns]
        owners = [turn for turn, those in zip(turns, heard, strict=True) for _ in those]
        understood = " ".join(word for those in heard for word in those)
        aligned = jiwer.process_words(words(text, language), understood)
        said += aligned.hits + aligned.substitutions + aligned.deletions
        for chunk in aligned.alignments[0]:
            if chunk.type == "delete":
                nearest = owners[chunk.hyp_start_idx :] or owners[-1:] or turns
                wrong[nearest[0]] += chunk.ref_end_idx - chunk.ref_start_idx
            elif chunk.type != "equal":
                for turn in owners[chunk.hyp_start_idx : chunk.hyp_end_idx]:
                    wrong[turn] += 1
    return said, wrong


def beyond(rows: Sequence[Compared]) -> tuple[float, float]:
    """Between which two of 100 words Parley has more wrong than the defaults, with 95 % confidence.

    A bootstrap: the same number of turns, drawn at random from these, thousands of times.
    """
    said, parley = errors(rows, "parley")
    more = np.subtract(parley, errors(rows, "defaults")[1])
    drawn = np.random.default_rng(0).choice(more, (_BOOTSTRAP, len(more)))
    low, high = np.percentile(100 / said * drawn.sum(axis=1), (2.5, 97.5))
    return float(low), float(high)


def words(text: str, language: str) -> str:
    """`text` in small letters without punctuation, numbers up to ten written out.

    Where words are not set apart by spaces, characters are.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "")
    plain = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    numbers = _TO_TEN[language].split()
    spelled = _NUMBER.sub(lambda number: f" {numbers[int(number[0]) - 1]} ", plain)
    return " ".join("".join(spelled.split()) if language in _UNSPACED else spelled.split())


# --- tables ---

COLUMNS = "turns | words | WER Parley | WER defaults | points more, 95 % | full window"
_TIMES = "turns | CPU s Parley | CPU s defaults | CPU ratio"
_TIMES += " | wall s Parley | wall s defaults | wall ratio"


def table(compared: Sequence[Compared]) -> str:
    """A row for each model, language and condition, and one for all languages together."""
    groups: dict[tuple[str, ...], list[Compared]] = defaultdict(list)
    for row in compared:
        groups[row.model, row.speakers, "all", row.condition].append(row)
        if row.speakers == "samples":
            groups[row.model, row.speakers, row.language, row.condition].append(row)
    return markdown(f"model | speakers | language | condition | {COLUMNS}", groups)


def by_length(compared: Sequence[Compared]) -> str:
    """What clean turns took, by how long they are."""
    groups: dict[tuple[str, ...], list[Compared]] = defaultdict(list)
    for row in sorted(compared, key=lambda row: (row.model, row.seconds)):
        upper_s = next(length for length in _LENGTHS_S if row.seconds < length)
        lower_s = _LENGTHS_S[_LENGTHS_S.index(upper_s) - 1]
        if row.condition == "clean":
            groups[row.model, f"{lower_s}-{upper_s} s"].append(row)
    times = {name: _times(rows) for name, rows in groups.items()}
    return _lines(f"model | length | {_TIMES}", times)


def by_batch(batches: dict[str, dict[int, float]]) -> str:
    """What a turn costs by how many are recognised together."""
    groups: dict[tuple[str, ...], tuple[str, ...]] = {
        (model, str(size)): (f"{cpu_s:.3f}", f"{costs[1] / cpu_s:.2f}")
        for model, costs in batches.items()
        for size, cpu_s in costs.items()
    }
    return _lines("model | together | CPU s a turn | times less than alone", groups)


def markdown(columns: str, groups: Mapping[tuple[str, ...], Sequence[Compared]]) -> str:
    """The words of groups of turns, under their names and `COLUMNS`."""
    return _lines(columns, {name: _words(rows) for name, rows in groups.items()})


def _words(rows: Sequence[Compared]) -> tuple[str, ...]:
    said, parley = word_error_rate(rows, "parley")
    _, defaults = word_error_rate(rows, "defaults")
    low, high = beyond(rows)
    again = str(sum(row.full_window for row in rows))
    rates = (f"{parley:.1%}", f"{defaults:.1%}", f"{low:+.1f} to {high:+.1f}")
    return (str(len(rows)), str(said), *rates, again)


def _times(rows: Sequence[Compared]) -> tuple[str, ...]:
    cpu_s = [sum(side.cpu_s for side in sides) for sides in _sides(rows)]
    wall_s = [sum(side.wall_s for side in sides) for sides in _sides(rows)]
    times = [f"{value:.2f}" for pair in (cpu_s, wall_s) for value in (*pair, pair[1] / pair[0])]
    return (str(len(rows)), *times)


def _sides(rows: Sequence[Compared]) -> tuple[list[Heard], list[Heard]]:
    return [row.parley for row in rows], [row.defaults for row in rows]


def _lines(columns: str, groups: Mapping[tuple[str, ...], tuple[str, ...]]) -> str:
    names = columns.split(" | ")
    rows = [names, ["---"] * len(names), *([*name, *cells] for name, cells in groups.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    typer.run(main)
