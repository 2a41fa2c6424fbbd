"""What a caller says when. Pure: it is told the time, once for every frame it may send."""

from collections.abc import Callable

from bench.load.hearing import Hearing
from bench.load.question import Question
from bench.load.record import Turn
from bench.load.scenario import Scenario


class Dialogue:
    """Asks the question as often as the scenario says, and follows the answers.

    At most two are followed: that to the latest question, and one that this question interrupts.
    """

    def __init__(
        self,
        scenario: Scenario,
        question: Question,
        begin_s: float,
        fresh: Callable[[int], Hearing],
    ) -> None:
        """`fresh` makes what follows the answer to a turn, given its number."""
        self.hearings: list[Hearing] = []
        self._scenario = scenario
        self._question = question
        self._fresh = fresh
        self._begin_s = begin_s
        self._began_s = begin_s
        self._asked = 0
        self._frame = len(question.speech)

    @property
    def over(self) -> bool:
        """Whether everything was asked, and answered or given up."""
        return self._asked == self._scenario.turns and not self.hearings

    def next_frame(self, now_s: float) -> int | None:
        """The frame of the question to send now; None is silence."""
        if self._frame == len(self._question.speech):
            if self._asked == self._scenario.turns or now_s < self._begin_s:
                return None
            self._ask(now_s)
        self._frame += 1
        return self._frame - 1

    def sent(self, frame: int | None, now_s: float, clock_s: float) -> None:
        """A frame was sent; `clock_s` is the time of day."""
        if frame == self._question.first and len(self.hearings) > 1:
            self.hearings[0].interrupted(now_s)
        if frame == self._question.last:
            self.hearings[-1].asked(now_s, clock_s)

    def fail(self, problem: str) -> None:
        """Gives everything up that is waited for."""
        for hearing in self.hearings:
            hearing.give_up(problem)

    def ended(self, now_s: float) -> list[Turn]:
        """The turns that are over now; each is told once."""
        if self.hearings and self._frame == len(self._question.speech):
            self._go_on(self.hearings[-1], now_s)
        over = [hearing for hearing in self.hearings if hearing.over(now_s)]
        for hearing in over:
            self.hearings.remove(hearing)
        return [hearing.turn for hearing in over]

    def _ask(self, now_s: float) -> None:
        if self._asked and not self._scenario.interrupts(self._asked - 1):
            self.fail("no whole answer in time")
        self.hearings.append(self._fresh(self._asked))
        self._began_s, self._begin_s = now_s, float("inf")
        self._asked += 1
        self._frame = 0

    def _go_on(self, latest: Hearing, now_s: float) -> None:
        """Decides when the next question begins, once it can be told."""
        scenario = self._scenario
        patience_s = self._question.seconds + scenario.give_up_s
        if scenario.every_s is not None:
            patience_s = min(patience_s, scenario.every_s)
            self._begin_s = self._began_s + scenario.every_s
        if now_s >= self._began_s + patience_s:
            self.fail("no whole answer in time")
        heard_s = latest.first_audio_s
        if scenario.interrupts(self._asked - 1) and heard_s is not None:
            self._begin_s = heard_s + scenario.interrupt_s
        elif scenario.every_s is None and latest.over(now_s):
            self._begin_s = now_s + scenario.pause_s
