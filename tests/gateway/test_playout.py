"""Playout: nothing missing, repeated or out of order, never too far ahead, and what was heard."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.playout import Playout, PlayoutError
from shared.audio import AudioError, Int16

RATE = 1_000


def ramp(samples: int, first: int = 0) -> Int16:
    return np.arange(first, first + samples, dtype=np.int16)


def samples_of(playout: Playout, now: float) -> list[int]:
    return [int(sample) for piece in playout.take(now) for sample in piece.samples]


# One response: the lengths of its segments, and every chunk that arrives, in an order that keeps
# each segment's chunks in sequence but mixes the segments; a takeover repeats a segment's chunks
# from the start with other cuts.
Chunk = tuple[int, int, int, bool]  # segment, offset, end, final


def cut(length: int, cuts: list[int]) -> list[tuple[int, int, bool]]:
    """Consecutive (offset, end, final) of one synthesis of a segment."""
    edges = [0, *sorted({at for at in cuts if 0 < at < length}), length]
    return [(a, b, b == length) for a, b in itertools.pairwise(edges)]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[int], list[Chunk]]:
    lengths = draw(st.lists(st.integers(0, 700), min_size=1, max_size=5))
    queues: list[list[Chunk]] = []
    for segment, length in enumerate(lengths):
        chunks = [(segment, *chunk) for chunk in cut(length, draw(st.lists(st.integers(1, 699))))]
        if draw(st.booleans()):
            # The first worker died after some chunks; the second begins again.
            survived = draw(st.integers(0, len(chunks) - 1))
            again = cut(length, draw(st.lists(st.integers(1, 699))))
            chunks = chunks[:survived] + [(segment, *chunk) for chunk in again]
        if draw(st.booleans()):
            chunks.append(chunks[-1])
        queues.append(chunks)
    order: list[Chunk] = []
    while any(queues):
        alive = [queue for queue in queues if queue]
        order.append(draw(st.sampled_from(alive)).pop(0))
    return lengths, order


def expected(lengths: list[int]) -> list[int]:
    return [1_000 * segment + i for segment, n in enumerate(lengths) for i in range(n)]


def add(playout: Playout, chunk: Chunk) -> None:
    segment, offset, end, final = chunk
    playout.add(segment, offset, ramp(end - offset, 1_000 * segment + offset), final)


class Client:
    """Plays what it gets as soon as it gets it: the model that the lead is measured against."""

    def __init__(self) -> None:
        self.received = 0
        self.played = 0.0
        self.at = 0.0

    def advance(self, now: float) -> None:
        self.played = min(self.received, self.played + (now - self.at) * RATE)
        self.at = now


@settings(deadline=None)
@given(
    arrivals(),
    st.floats(0.05, 1.0),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=40),
    st.floats(0, 1e9),
    st.integers(0, 40),
)
def test_take_gives_every_sample_once_and_keeps_the_lead(
    arriving: tuple[list[int], list[Chunk]],
    lead_s: float,
    waits: list[float],
    start: float,
    end_after: int,
) -> None:
    lengths, chunks = arriving
    playout, client, got = Playout(RATE, lead_s), Client(), []
    client.at = now = start
    pace = itertools.cycle(waits)
    for number, chunk in enumerate(chunks):
        if number == min(end_after, len(chunks) - 1):
            playout.end(len(lengths))
        add(playout, chunk)
        now += next(pace)
        client.advance(now)
        taken = samples_of(playout, now)
        client.received += len(taken)
        got += taken
        assert client.received - client.played <= lead_s * RATE + 0.01
        assert abs(playout.heard_samples(now) - client.played) <= 1.01
    while (due := playout.next_at(now)) is not None:
        assert due >= now
        now = due
        client.advance(now)
        taken = samples_of(playout, now)
        assert taken, "next_at named a time at which there was nothing to take"
        client.received += len(taken)
        got += taken
        assert client.received - client.played <= lead_s * RATE + 0.01
    assert got == expected(lengths)
    assert playout.finished
    assert playout.sent_samples == len(got)
    assert playout.heard_samples(now + lead_s + 0.01) == len(got)


@settings(deadline=None)
@given(arrivals(), st.integers(1, 300), st.integers(0, 3))
def test_pull_gives_whole_messages_until_the_end(
    arriving: tuple[list[int], list[Chunk]], size: int, pulls: int
) -> None:
    lengths, chunks = arriving
    playout = Playout(RATE)
    messages: list[list[int]] = []
    for chunk in chunks:
        add(playout, chunk)
        messages += [playout.pull(size).tolist() for _ in range(pulls)]
    assert {len(message) for message in messages} <= {0, size}
    playout.end(len(lengths))
    while not playout.finished:
        messages.append(playout.pull(size).tolist())
    messages = [message for message in messages if message]
    assert all(len(message) == size for message in messages[:-1])
    assert list(itertools.chain(*messages)) == expected(lengths)
    assert playout.heard_samples(0.0) == playout.sent_samples == sum(lengths)


def test_the_lead_goes_out_at_once_and_the_rest_in_time() -> None:
    playout = Playout(RATE, lead_s=1.0)
    assert playout.next_at(5.0) is None
    playout.add(0, 0, ramp(1_500), final=True)
    playout.end(1)
    assert playout.next_at(5.0) == 5.0
    assert samples_of(playout, 5.0) == list(range(1_000))
    assert playout.next_at(5.0) == pytest.approx(5.1, abs=1e-3)
    assert samples_of(playout, 5.25) == list(range(1_000, 1_250))
    assert samples_of(playout, 5.5) == list(range(1_250, 1_500))
    assert playout.finished
    assert playout.next_at(5.5) is None


def test_an_underrun_moves_the_clock() -> None:
    playout = Playout(RATE, lead_s=0.2)
    playout.add(0, 0, ramp(100))
    assert len(samples_of(playout, 0.0)) == 100
    assert playout.heard_samples(3.0) == 100
    playout.add(0, 100, ramp(400, 100), final=True)
    assert len(samples_of(playout, 3.0)) == 200
    assert playout.heard_samples(3.0) == 100
    assert playout.heard_samples(3.125) == 225


def test_a_later_segment_waits_for_the_earlier_one() -> None:
    playout = Playout(RATE)
    playout.add(1, 0, ramp(10, 10), final=True)
    assert playout.take(0.0) == []
    assert playout.next_at(0.0) is None
    playout.add(0, 0, ramp(10), final=True)
    pieces = playout.take(0.0)
    assert [(piece.segment, piece.offset, len(piece.samples)) for piece in pieces] == [
        (0, 0, 10),
        (1, 0, 10),
    ]


def test_audio_is_handed_through_without_copying() -> None:
    pcm = ramp(50).tobytes()
    playout = Playout(RATE)
    playout.add(0, 0, pcm)
    (piece,) = playout.take(0.0)
    assert np.shares_memory(piece.samples, np.frombuffer(pcm, np.int16))


def test_a_response_without_audio_is_finished_when_it_ends() -> None:
    playout = Playout(RATE)
    assert not playout.finished
    playout.end(0)
    assert playout.finished
    assert playout.pull(64).tolist() == []


def test_a_shorter_second_synthesis_ends_the_segment_where_it_stands() -> None:
    playout = Playout(RATE)
    playout.add(0, 0, ramp(100))
    playout.add(0, 0, ramp(80), final=True)
    playout.add(0, 80, ramp(50), final=True)
    playout.end(1)
    assert samples_of(playout, 0.0) == list(range(100))
    assert playout.finished


def test_what_does_not_fit_is_refused() -> None:
    playout = Playout(RATE)
    playout.add(1, 0, ramp(10))
    with pytest.raises(PlayoutError, match="offset of segment 1 must be at most 10, not 11"):
        playout.add(1, 11, ramp(10))
    with pytest.raises(AudioError, match="even number of bytes"):
        playout.add(1, 10, b"\0")
    with pytest.raises(PlayoutError, match="segments must be at least 2, not 1"):
        playout.end(1)
    playout.end(2)
    with pytest.raises(PlayoutError, match="segments must be 2, as before, not 3"):
        playout.end(3)
    with pytest.raises(PlayoutError, match="segment must be less than 2, not 2"):
        playout.add(2, 0, ramp(10))


TEXTS = {0: "The capital of France is Paris.", 1: " It lies on the Seine."}


@pytest.mark.parametrize(
    ("samples", "heard"),
    [
        (0, ""),
        (200, ""),
        (310, "The"),
        (1_200, "The capital"),
        (3_099, "The capital of France is"),
        (3_100, "The capital of France is Paris."),
        (3_900, "The capital of France is Paris. It lies"),
        (5_300, "The capital of France is Paris. It lies on the Seine."),
        (9_999, "The capital of France is Paris. It lies on the Seine."),
    ],
)
def test_heard_words(samples: int, heard: str) -> None:
    """A hundred samples a character, cut after whole words."""
    playout = Playout(RATE)
    for segment, text in TEXTS.items():
        playout.add(segment, 0, np.zeros(100 * len(text), np.int16), final=True)
    assert playout.text_until(samples, TEXTS) == heard


def test_heard_text_follows_the_clock() -> None:
    playout = Playout(RATE, lead_s=10.0)
    playout.add(0, 0, np.zeros(3_100, np.int16), final=True)
    playout.take(50.0)
    assert playout.heard_text(50.0, TEXTS) == ""
    assert playout.heard_text(51.3, TEXTS) == "The capital"
    assert playout.heard_text(99.0, TEXTS) == TEXTS[0]


def test_a_segment_still_being_synthesised_is_not_heard_to_its_end() -> None:
    playout = Playout(RATE, lead_s=10.0)
    playout.add(0, 0, np.zeros(500, np.int16))
    playout.take(0.0)
    assert playout.heard_text(9.0, TEXTS) == "The"


def test_scripts_without_spaces_are_cut_between_characters() -> None:
    playout = Playout(RATE)
    playout.add(0, 0, np.zeros(1_000, np.int16), final=True)
    assert playout.text_until(500, {0: "法国的首都是巴黎。很美"}) == "法国的首都"


@settings(deadline=None)
@given(arrivals(), st.data())
def test_heard_text_only_grows(
    arriving: tuple[list[int], list[Chunk]], data: st.DataObject
) -> None:
    lengths, chunks = arriving
    playout = Playout(RATE)
    for chunk in chunks:
        add(playout, chunk)
    texts = {n: data.draw(st.text("ab c。", max_size=30)) for n in range(len(lengths))}
    heard = [playout.text_until(samples, texts) for samples in range(0, sum(lengths) + 50, 25)]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(heard))
    assert playout.text_until(sum(lengths), texts) == "".join(texts.values()).strip()
