"""What of MeloTTS's engine needs none of its packages: batches, pieces of text, missing data."""

# ruff: noqa: RUF001 - marks that look alike in different scripts are what this is about

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.stages import until
from workers.tts.engines import melo_data
from workers.tts.engines.melo_batches import Batches
from workers.tts.engines.melo_data import FRONT_ENDS, DataMissing
from workers.tts.engines.melo_text import pieces


class Work:
    """Negates numbers; the batch with a 0 waits until it is released, one with a 13 fails."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.released = threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append([*numbers])
        if 0 in numbers:
            assert self.released.wait(10)
        if 13 in numbers:
            raise ValueError("13 is no number")
        return [-number for number in numbers]


async def test_what_waits_while_a_batch_is_at_work_is_the_next() -> None:
    work = Work()
    batches = Batches(work, most=3)
    with ThreadPoolExecutor(6) as threads:
        first = threads.submit(batches.run, 0)
        await until(lambda: work.batches == [[0]])
        rest = [threads.submit(batches.run, number) for number in range(1, 6)]
        await until(lambda: len(batches._waiting) == 5)
        work.released.set()
        assert first.result() == 0
        assert [future.result() for future in rest] == [-1, -2, -3, -4, -5]
    assert [len(batch) for batch in work.batches] == [1, 3, 2]


async def test_an_error_reaches_everyone_in_its_batch_and_nobody_else() -> None:
    work = Work()
    batches = Batches(work, most=2)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(batches.run, 0)
        await until(lambda: work.batches == [[0]])
        both = []
        for number in (13, 7):
            both.append(threads.submit(batches.run, number))
            await until(lambda: len(batches._waiting) == len(both))
        work.released.set()
        for future in both:
            with pytest.raises(ValueError, match="13 is no number"):
                future.result()
        assert first.result() == 0
    assert batches.run(8) == -8


def test_sentences_are_pieces_and_short_ones_ride_along() -> None:
    text = "Yes. It opens at 10:30, says Dr. Smith! Really? I am sure of that… No."
    assert pieces(text, "EN") == [
        "Yes. It opens at 10:30, says Dr. Smith!",
        "Really? I am sure of that… No.",
    ]
    assert pieces("你好。今天天气很不错，我们去公园吧！好。", "ZH") == [
        "你好. 今天天气很不错, 我们去公园吧! 好."
    ]


@pytest.mark.parametrize("language", FRONT_ENDS)
def test_pieces_are_bounded_and_nothing_is_lost(language: str) -> None:
    word = {"ZH": "很", "JP": "アイ", "KR": "안녕 "}.get(language, "word ")
    for text in (word * 500, f"{word * 7}, " * 60, f"{word * 7}. " * 60):
        found = pieces(text, language)
        assert all(len(piece) <= 220 for piece in found)
        letters = "".join(character for character in text if character.isalnum())
        assert "".join(c for c in "".join(found) if c.isalnum()) == letters


@pytest.mark.parametrize("text", ["", " \n", "...", "🙂", "яблоко", "\0", "?!"])
def test_nothing_to_read_is_no_piece(text: str) -> None:
    assert [pieces(text, language) for language in FRONT_ENDS] == [[]] * len(FRONT_ENDS)


def test_long_numbers_are_read_digit_by_digit() -> None:
    assert pieces("Call 02079460958 now.", "EN") == ["Call 0 2 0 7 9 4 6 0 9 5 8 now."]


def test_data_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    name = "dbmdz/bert-base-french-europeana-cased"
    with pytest.raises(DataMissing, match=f"MeloTTS reads FR with the model '{name}', which"):
        melo_data.check(["FR"])
    folder = tmp_path / "models--dbmdz--bert-base-french-europeana-cased"
    (folder / "snapshots/0").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("0")
    with pytest.raises(DataMissing, match=f"with the weights of the model '{name}', which is not"):
        melo_data.check(["FR"])
    (folder / "snapshots/0/pytorch_model.bin").write_bytes(b"0" * 7)
    assert melo_data.check(["FR"]) == 7
