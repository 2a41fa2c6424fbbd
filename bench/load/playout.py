"""A loudspeaker with an absolute clock. Pure: it is told the time."""

_TOLERANCE_S = 0.001


class Playout:
    """Plays an answer from its first sample on, without ever waiting to gather more of it.

    When the next samples come after the last was played, that is an underrun, as long as the gap.
    """

    def __init__(self, rate: int) -> None:
        """`rate`: samples a second."""
        self.underruns = 0
        self.underrun_s = 0.0
        self.jitter_s = 0.0
        self.played_until_s = 0.0
        self._rate = rate
        self._samples = 0
        self._transit_s = 0.0

    @property
    def seconds(self) -> float:
        """How much has come."""
        return self._samples / self._rate

    def hear(self, samples: int, now_s: float) -> None:
        """The next samples came."""
        if not self._samples:
            self.played_until_s = now_s
        late_s = now_s - self.played_until_s
        if late_s > _TOLERANCE_S:
            self.underruns += 1
            self.underrun_s += late_s
            self.played_until_s = now_s
        self._note_jitter(now_s)
        self._samples += samples
        self.played_until_s += samples / self._rate

    def _note_jitter(self, now_s: float) -> None:
        """RFC 3550, 6.4.1: the smoothed difference in transit time from one packet to the next."""
        transit_s = now_s - self.seconds
        if self._samples:
            self.jitter_s += (abs(transit_s - self._transit_s) - self.jitter_s) / 16
        self._transit_s = transit_s
