"""The outbox: whatever was sent, lost and sent again, the server ends up with all of it, once."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from client import ParleyError
from client.outbox import Audio, Outbox, Request
from shared.audio import Int16

MS = 24  # samples


def ramp(start: int, end: int) -> Int16:
    """Audio in which every sample tells its position, and none is silent."""
    return (np.arange(start, end) % 30_000 + 1).astype(np.int16)


def samples(audio: Audio) -> Int16:
    return np.frombuffer(audio.pcm, "<i2")


def contents(outbox: Outbox) -> list[tuple[int, int] | str]:
    """What the outbox hands out: audio as (first position, end), requests as their text."""
    taken: list[tuple[int, int] | str] = []
    while (entry := outbox.next()) is not None:
        taken.append(entry.text if isinstance(entry, Request) else (entry.position, entry.end))
    return taken


class Line(RuleBasedStateMachine):
    """A client that puts in and sends, a network that loses, a server that forgets."""

    kept_samples = 10**9

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(self.kept_samples, kept_requests=10**6)
        self.positions: list[int] = []  # of each request, as it was put in
        self.away = False
        self.network: list[Audio | Request] = []
        self.heard = ramp(0, 0)
        self.obeyed = 0
        self.resumed_at = 0

    @rule(length=st.one_of(st.integers(0, 700), st.integers(23_990, 50_000)))
    def speak(self, length: int) -> None:
        recording = ramp(self.outbox.samples, self.outbox.samples + length)
        self.outbox.add_audio(recording)
        recording[:] = 0  # the caller's array is its own again

    @rule()
    def ask(self) -> None:
        self.positions.append(self.outbox.samples)
        self.outbox.add_request(f"request {len(self.positions)}")

    @rule(entries=st.integers(1, 20))
    def send(self, entries: int) -> None:
        for _ in range(entries):
            if (entry := self.outbox.next()) is not None:
                assert not self.away
                self.network.append(entry)

    @precondition(lambda self: self.network)
    @rule()
    def arrive(self) -> None:
        entry = self.network.pop(0)
        if isinstance(entry, Audio):
            assert entry.position == len(self.heard)
            self.heard = np.concatenate([self.heard, samples(entry)])
        else:
            position = self.positions[self.obeyed]
            self.obeyed += 1
            assert (entry.number, entry.text) == (self.obeyed, f"request {self.obeyed}")
            assert len(self.heard) == max(position, self.resumed_at)

    @rule()
    def lose(self) -> None:
        self.outbox.lost()
        self.network.clear()
        self.away = True

    @precondition(lambda self: self.away)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self.obeyed = data.draw(st.integers(0, self.obeyed), "requests")
        audio_ms = data.draw(st.integers(0, len(self.heard) // MS), "audio_ms")
        self.resumed_at = audio_ms * MS
        self.heard = self.heard[: self.resumed_at]
        self.outbox.rewind(self.obeyed, audio_ms)
        self.away = False

    @invariant()
    def what_arrived_is_what_was_said(self) -> None:
        assert np.array_equal(self.heard, ramp(0, len(self.heard)))

    def teardown(self) -> None:
        if self.away:
            self.outbox.rewind(self.obeyed, len(self.heard) // MS)
            self.resumed_at = len(self.heard) // MS * MS
            self.heard = self.heard[: self.resumed_at]
            self.away = False
        while (entry := self.outbox.next()) is not None:
            self.network.append(entry)
        while self.network:
            self.arrive()
        self.what_arrived_is_what_was_said()
        assert len(self.heard) == self.outbox.samples
        assert self.obeyed == len(self.positions)


class ForgetfulLine(Line):
    """The same, with less kept than may be lost."""

    kept_samples = 1_000

    @invariant()
    def what_arrived_is_what_was_said(self) -> None:
        said = ramp(0, len(self.heard))
        assert np.array_equal(self.heard[self.heard != 0], said[self.heard != 0])

    def teardown(self) -> None:
        super().teardown()
        assert self.heard[-self.kept_samples :].all()


Line.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
ForgetfulLine.TestCase.settings = Line.TestCase.settings
TestLine = Line.TestCase
TestForgetfulLine = ForgetfulLine.TestCase


def test_audio_is_handed_out_in_pieces_of_a_second() -> None:
    outbox = Outbox()
    outbox.add_audio(ramp(0, 60_000))
    assert contents(outbox) == [(0, 24_000), (24_000, 48_000), (48_000, 60_000)]


def test_what_the_server_has_is_not_sent_again() -> None:
    outbox = Outbox()
    outbox.add_audio(ramp(0, 480))
    outbox.add_request("commit")
    outbox.add_audio(ramp(480, 960))
    outbox.add_request("respond")
    contents(outbox)
    outbox.lost()
    outbox.add_audio(ramp(960, 1_440))
    outbox.rewind(requests=1, audio_ms=25)
    assert contents(outbox) == [(600, 960), "respond", (960, 1_440)]
    outbox.lost()
    outbox.rewind(requests=2, audio_ms=60)
    assert contents(outbox) == []


def test_a_request_that_went_before_audio_the_server_has_comes_first() -> None:
    outbox = Outbox()
    outbox.add_request("update")
    outbox.add_audio(ramp(0, 480))
    contents(outbox)
    outbox.lost()
    outbox.rewind(requests=0, audio_ms=10)
    assert contents(outbox) == ["update", (240, 480)]


def test_audio_of_a_minute_is_kept_and_older_audio_is_silence() -> None:
    outbox = Outbox()
    for second in range(70):
        if second == 5:
            outbox.add_request("commit")
        outbox.add_audio(ramp(second * 24_000, (second + 1) * 24_000))
    outbox.lost()
    outbox.rewind(requests=0, audio_ms=2_500)
    entries = []
    while (entry := outbox.next()) is not None:
        entries.append(entry)
    kinds = [isinstance(entry, Request) for entry in entries]
    assert kinds.index(True) == 3  # after silence from 2.5 s to 5 s
    audio = np.concatenate([samples(entry) for entry in entries if isinstance(entry, Audio)])
    assert len(audio) == 67_500 * MS
    assert not audio[: 7_500 * MS].any()
    assert np.array_equal(audio[7_500 * MS :], ramp(10_000 * MS, 70_000 * MS))


def test_what_waits_while_connected_is_never_dropped() -> None:
    outbox = Outbox(kept_samples=0, kept_requests=0)
    outbox.add_audio(ramp(0, 480))
    outbox.add_request("commit")
    assert contents(outbox) == [(0, 480), "commit"]


def test_requests_that_wait_are_bounded_and_none_sent_before_is_forgotten_for_them() -> None:
    outbox = Outbox(kept_requests=3)
    for number in range(1, 6):
        outbox.add_request(f"{number}")
    outbox.lost()
    for number in range(6, 9):
        assert not outbox.full
        outbox.add_request(f"{number}")
    assert outbox.full
    outbox.rewind(requests=2, audio_ms=0)
    assert contents(outbox) == ["3", "4", "5", "6", "7", "8"]
    assert not outbox.full
    outbox.lost()
    with pytest.raises(ParleyError, match="the server lacks requests that are no longer kept"):
        outbox.rewind(requests=4, audio_ms=0)


@pytest.mark.parametrize(("requests", "audio_ms"), [(1, 0), (0, 21)])
def test_a_server_cannot_have_more_than_was_sent(requests: int, audio_ms: int) -> None:
    outbox = Outbox()
    outbox.add_audio(ramp(0, 480))
    outbox.lost()
    with pytest.raises(ParleyError, match="claims to have more than this client sent"):
        outbox.rewind(requests, audio_ms)
