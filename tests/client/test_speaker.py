"""The ring between the network and the audio thread, driven block by block."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.ring import Ring
from client.speaker import Playback, level
from shared.audio import Int16

RATE = 24_000
BLOCK = 240  # 10 ms
SECOND = np.arange(1, RATE + 1).astype(np.int16)


def pulled(playback: Playback, blocks: int = 1) -> Int16:
    """What the loudspeaker gets, in a buffer that holds rubbish before."""
    out = np.full(blocks * BLOCK, 12_345, np.int16)
    for at in range(0, len(out), BLOCK):
        playback.pull(out[at : at + BLOCK])
    return out


@given(st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), max_size=60))
def test_a_ring_is_a_queue(steps: list[tuple[int, int]]) -> None:
    ring, written, read = Ring(64), 0, 0
    for offered, wanted in steps:
        samples = np.arange(written, written + offered).astype(np.int16)
        fitted = ring.write(samples)
        assert fitted == min(offered, 64 - (written - read))
        written += fitted
        out = np.full(wanted, -1, np.int16)
        count = ring.read(out)
        assert count == min(wanted, written - read)
        assert out.tolist() == [*range(read, read + count)] + [-1] * (wanted - count)
        read += count
        assert ring.waiting == written - read


def test_what_is_skipped_is_not_read_and_not_taken() -> None:
    ring = Ring(100)
    ring.write(SECOND[:50])
    ring.read(np.empty(20, np.int16))
    ring.skip()
    assert (ring.waiting, ring.taken) == (0, 20)
    assert ring.read(np.empty(10, np.int16)) == 0
    assert ring.taken == 20
    ring.write(SECOND[50:60])
    out = np.empty(10, np.int16)
    assert ring.read(out) == 10
    assert np.array_equal(out, SECOND[50:60])
    assert ring.taken == 60


def test_an_answer_is_played_to_the_sample() -> None:
    playback = Playback(RATE)
    assert not pulled(playback, 3).any()
    playback.play("a", SECOND[:10_000])
    playback.play("a", SECOND[10_000:])
    playback.end("a")
    out = pulled(playback, 101)
    assert np.array_equal(out[:RATE], SECOND)
    assert not out[RATE:].any()
    assert playback.heard_out() == ["a"]
    assert playback.heard_out() == []
    assert playback.underruns == 0
    assert playback.cut() == []


def test_it_begins_with_enough_at_hand_or_with_all_there_is() -> None:
    playback = Playback(RATE)
    playback.play("a", SECOND[: RATE // 20])  # 50 ms
    assert not pulled(playback).any()
    playback.end("a")
    assert np.array_equal(pulled(playback), SECOND[:BLOCK])


def test_running_dry_is_counted_once_and_silent() -> None:
    playback = Playback(RATE)
    playback.play("a", SECOND[: 10 * BLOCK])
    out = pulled(playback, 15)
    assert np.array_equal(out[: 10 * BLOCK], SECOND[: 10 * BLOCK])
    assert not out[10 * BLOCK :].any()
    assert playback.underruns == 1
    playback.play("a", SECOND[10 * BLOCK : 20 * BLOCK + 100])
    pulled(playback, 15)
    assert playback.underruns == 2
    playback.end("a")
    pulled(playback, 5)
    assert playback.underruns == 2
    assert playback.heard_out() == ["a"]


def test_what_is_cut_off_is_silent_at_once_and_told_in_ms() -> None:
    playback = Playback(RATE)
    playback.play("a", SECOND)
    pulled(playback, 30)
    assert playback.cut() == [("a", 300)]
    assert not pulled(playback, 30).any()
    assert playback.underruns == 0
    playback.play("b", SECOND)
    assert np.array_equal(pulled(playback, 10), SECOND[: 10 * BLOCK])
    assert playback.cut() == [("b", 100)]


def test_what_still_comes_of_what_was_cut_off_is_not_played() -> None:
    playback = Playback(RATE)
    playback.play("a", SECOND)
    playback.cut()
    playback.play("a", SECOND)
    playback.end("a")
    assert not pulled(playback, 100).any()
    playback.play("b", SECOND)
    assert np.array_equal(pulled(playback, 100), SECOND)


def test_what_the_device_has_not_sounded_yet_was_not_heard() -> None:
    playback = Playback(RATE)
    playback.play("a", SECOND)
    pulled(playback, 30)
    assert playback.cut(latency_s=0.05) == [("a", 250)]


def test_an_answer_that_waits_behind_another_is_cut_off_too() -> None:
    playback = Playback(RATE)
    playback.play("a", SECOND)
    playback.end("a")
    playback.play("b", SECOND)
    pulled(playback, 99)
    assert playback.cut() == [("a", 990), ("b", 0)]


def test_memory_is_bounded() -> None:
    playback = Playback(RATE)
    for _ in range(121):
        playback.play("a", SECOND)
    assert playback.lost_s == 1.0


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_other_rates_take_as_long(rate: int) -> None:
    playback = Playback(rate)
    for item in ("a", "b"):
        for at in range(0, RATE, 480):
            playback.play(item, SECOND[at : at + 480])
        playback.end(item)
    out = np.empty(3 * rate, np.int16)
    playback.pull(out)
    assert len(np.trim_zeros(out)) == pytest.approx(2 * rate, abs=rate / 100)
    assert playback.heard_out() == ["a", "b"]


def test_the_meter() -> None:
    full = np.tile(np.array([32_767, -32_768], np.int16), 500)
    assert level(full) == pytest.approx(1.0, abs=0.001)
    assert level(full // 1000) == pytest.approx(0.0, abs=0.01)
    assert level((full / 31.6).astype(np.int16)) == pytest.approx(0.5, abs=0.01)
    assert level(full * 0) == 0.0
    assert level(full[:0]) == 0.0


def test_an_answer_s_level_is_that_of_what_is_heard() -> None:
    playback = Playback(RATE)
    playback.play("a", np.full(RATE, 16_384, np.int16))
    assert playback.level == 0.0
    pulled(playback, 20)
    assert playback.level == pytest.approx(0.9, abs=0.01)
    playback.cut()
    assert playback.level == 0.0
