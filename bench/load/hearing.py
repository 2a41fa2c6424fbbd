"""What a caller hears of the answer to one question. Pure: it is told the time."""

from bench.load.playout import Playout
from bench.load.record import Turn

_MARKS_WITHIN_S = 1.0


class Hearing:
    """The answer to one question; `rate` is that of its audio, in Hz.

    Times count from when the question's last sample was sent, and what came before is not part of
    the answer: it answers a question before, or one that seemed to be over at a pause.
    """

    def __init__(self, session: int, number: int, rate: int, *, marks: bool) -> None:
        """`marks`: whether the server's own are worth waiting for."""
        self.turn = Turn(session=session, number=number)
        self.responses: set[str] = set()
        self.first_audio_s: float | None = None
        self._rate = rate
        self._marks = marks
        self._playout = Playout(rate)
        self._asked_s: float | None = None
        self._done_s: float | None = None
        self._interrupted_s: float | None = None

    @property
    def listening(self) -> bool:
        """Whether what begins now may be the answer."""
        return self._asked_s is not None and self._interrupted_s is None

    def asked(self, now_s: float, clock_s: float) -> None:
        """The question's last sample was sent; `clock_s` is the time of day."""
        self._asked_s = now_s
        self.turn.asked_s = clock_s

    def interrupted(self, now_s: float) -> None:
        """The first sample of an interruption was sent."""
        self._interrupted_s = now_s

    def give_up(self, problem: str) -> None:
        """Notes why there is no answer, or no whole one."""
        self.turn.problem = self.turn.problem or problem

    def over(self, now_s: float) -> bool:
        """Whether the answer was played to its end or stopped, and its marks came or will not."""
        if self.turn.problem:
            return True
        if self._done_s is None:
            return False
        if self._interrupted_s is not None:
            return self.turn.stop_ms is not None
        if now_s < self._playout.played_until_s:
            return False
        return not self._marks or bool(self.turn.marks) or now_s > self._done_s + _MARKS_WITHIN_S

    def transcript(self, now_s: float) -> None:
        """The question was recognised."""
        if self.listening:
            self.turn.transcript_ms = self._since_ms(now_s)

    def text(self, now_s: float) -> None:
        """Words of the answer came."""
        if self.turn.text_ms is None:
            self.turn.text_ms = self._since_ms(now_s)

    def audio(self, samples: int, now_s: float) -> None:
        """Samples of the answer came."""
        if self._interrupted_s is not None:
            self.stopped(now_s)
            return
        if self.first_audio_s is None:
            self.first_audio_s = now_s
            self.turn.audio_ms = self._since_ms(now_s)
        self._playout.hear(samples, now_s)
        self.turn.audio_s = self._playout.seconds
        self.turn.underruns = self._playout.underruns
        self.turn.underrun_ms = 1000 * self._playout.underrun_s
        self.turn.jitter_ms = 1000 * self._playout.jitter_s

    def stopped(self, now_s: float) -> None:
        """An interrupted answer was heard until now at the latest: a client stops playing when the
        server hears speech, and what still comes was not stopped in time."""
        if self._interrupted_s is not None:
            self.turn.stop_ms = 1000 * (now_s - self._interrupted_s)

    def done(self, now_s: float) -> None:
        """The answer is complete."""
        self._done_s = now_s
        if self.first_audio_s is None:
            self.give_up("the answer had no audio")

    def cancelled(self, response_id: str, now_s: float) -> None:
        """The server gave the answer up: because it was interrupted, or because the question seemed
        to go on, and another response answers all of it."""
        if self._interrupted_s is not None:
            self.done(now_s)
            return
        self.responses.discard(response_id)
        self._playout = Playout(self._rate)
        self.first_audio_s = self.turn.text_ms = self.turn.audio_ms = None

    def _since_ms(self, now_s: float) -> float:
        assert self._asked_s is not None, "what came before the question's end is no answer to it"
        return 1000 * (now_s - self._asked_s)
