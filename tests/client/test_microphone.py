"""The microphone: frames, and a clock that does not drift; time is driven, not slept."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from client import frames, paced, silence


class Clock:
    """Time that passes only in `sleep`, which takes longer than asked, as a busy loop's does."""

    def __init__(self, late_s: list[float]) -> None:
        self.now = 1_000.0
        self._late = itertools.cycle(late_s)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        if seconds:
            self.now += seconds + next(self._late)


@settings(deadline=None)
@given(st.integers(0, 5_000))
def test_frames_are_the_recording(samples: int) -> None:
    recording = np.arange(samples).astype(np.int16)
    cut = list(frames(recording))
    assert all(len(frame) == 480 for frame in cut[:-1])
    assert np.array_equal(np.concatenate([*cut, recording[:0]]), recording)


@settings(deadline=None)
@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=20))
async def test_late_wakings_do_not_add_up(late_s: list[float]) -> None:
    clock = Clock(late_s)
    due = 1_000.0
    async for frame in paced(itertools.islice(silence(), 200), clock, clock.sleep):
        due += len(frame) / 24_000
        assert clock.now >= due - 1e-6
    assert clock.now - due <= max(late_s) + 1e-6


async def test_every_frame_waits_until_it_is_recorded() -> None:
    clock = Clock([0.0])
    times = [clock.now async for _ in paced(frames(np.ones(1_000, np.int16)), clock, clock.sleep)]
    assert np.allclose(np.array(times) - 1_000.0, [0.02, 0.04, 1_000 / 24_000])
