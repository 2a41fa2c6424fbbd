"""What a caller of the load generator measures, told the time."""

import base64

import msgspec
import pytest

from bench.load.dialogue import Dialogue
from bench.load.hearing import Hearing
from bench.load.playout import Playout
from bench.load.protocols import Original, Realtime, address
from bench.load.question import Question
from bench.load.record import Turn
from bench.load.scenario import Scenario, starts_s

QUESTION = Question(["a", "b", "c"], "silence", first=1, last=2, frame_s=0.02)
HALF_SECOND = base64.b64encode(bytes(24_000)).decode()


class Talk:
    """A dialogue in OpenAI's protocol, with the time in a field."""

    def __init__(self, scenario: Scenario) -> None:
        self.now_s = 0.0
        self.turns: list[Turn] = []
        self.sent: list[str | bytes] = []
        self._language = Realtime(scenario)
        self.dialogue = Dialogue(
            scenario, QUESTION, 0.0, lambda number: self._language.fresh(7, number)
        )

    def until(self, time_s: float) -> None:
        """Ticks every 20 ms until a time."""
        while self.now_s < time_s - 1e-9:
            self.now_s += 0.02
            frame = self.dialogue.next_frame(self.now_s)
            self.sent.append(self._language.frame(QUESTION, frame))
            self.dialogue.sent(frame, self.now_s, 1_000 + self.now_s)
            self.turns += self.dialogue.ended(self.now_s)

    def hear(self, kind: str, **fields: object) -> None:
        self._language.take(
            msgspec.json.encode({"type": kind, **fields}), self.dialogue, self.now_s
        )

    def answer(self, name: str = "r1") -> None:
        """A whole answer of half a second of audio, at once."""
        self.hear("response.created", response={"id": name})
        self.hear("response.output_audio_transcript.delta", response_id=name, delta="Hi")
        self.hear("response.output_audio.delta", response_id=name, delta=HALF_SECOND)
        self.hear("response.done", response={"id": name, "status": "completed"})
        self.hear("parley.timings", response_id=name, marks={"speech_end": 5})


def test_times_count_from_the_last_sample_of_speech() -> None:
    talk = Talk(Scenario(sessions=1, turns=1))
    talk.until(0.40)  # the question was sent at 0.02, 0.04 and 0.06
    talk.hear("conversation.item.input_audio_transcription.completed", transcript="What?")
    talk.until(0.56)
    talk.answer()
    talk.until(1.04)
    assert not talk.turns  # it is still being heard
    talk.until(1.10)
    [turn] = talk.turns
    assert (turn.session, turn.number, turn.problem) == (7, 0, "")
    assert turn.transcript_ms == pytest.approx(340)
    assert turn.text_ms == turn.audio_ms == pytest.approx(500)
    assert (turn.audio_s, turn.underruns, turn.marks) == (0.5, 0, {"speech_end": 5})
    assert turn.asked_s == pytest.approx(1_000.06)
    assert talk.dialogue.over


def test_the_microphone_never_stops() -> None:
    talk = Talk(Scenario(sessions=1, turns=1))
    talk.until(0.1)
    assert talk.sent == ["a", "b", "c", "silence", "silence"]


def test_an_answer_to_what_was_said_before_is_none() -> None:
    talk = Talk(Scenario(sessions=1, turns=1))
    talk.until(0.02)
    talk.answer("early")
    talk.until(0.4)
    talk.answer()
    talk.until(1.0)
    assert [turn.audio_ms for turn in talk.turns] == [pytest.approx(340)]


def test_an_answer_that_the_server_takes_back_does_not_count() -> None:
    talk = Talk(Scenario(sessions=1, turns=1))
    talk.until(0.2)
    talk.hear("response.created", response={"id": "r0"})
    talk.hear("response.output_audio.delta", response_id="r0", delta=HALF_SECOND)
    talk.hear("response.done", response={"id": "r0", "status": "cancelled"})
    talk.until(0.36)
    talk.answer()
    talk.until(1.0)
    [turn] = talk.turns
    assert turn.audio_ms == pytest.approx(300)
    assert turn.audio_s == 0.5


def test_the_next_question_follows_the_answer() -> None:
    talk = Talk(Scenario(sessions=1, turns=2, pause_s=0.3))
    talk.until(0.06)
    talk.answer()
    talk.until(0.84)
    assert talk.sent.count("a") == 1
    talk.until(0.92)
    assert talk.sent.count("a") == 2


def test_open_loop_questions_wait_for_nobody() -> None:
    talk = Talk(Scenario(sessions=1, turns=2, every_s=0.5))
    talk.until(0.56)
    assert talk.sent.count("a") == 2
    assert [turn.problem for turn in talk.turns] == ["no whole answer in time"]


def test_an_interruption_is_timed_to_the_last_of_the_old_answer() -> None:
    talk = Talk(Scenario(sessions=1, turns=2, interrupt=1, interrupt_s=0.2))
    talk.until(0.06)
    talk.hear("response.created", response={"id": "r1"})
    talk.hear("response.output_audio.delta", response_id="r1", delta=HALF_SECOND)
    talk.until(0.4)  # from 0.26 on the second question is asked, voiced from 0.30 on
    talk.hear("input_audio_buffer.speech_started")
    talk.until(0.44)
    talk.hear("response.output_audio.delta", response_id="r1", delta=HALF_SECOND)
    talk.hear("response.done", response={"id": "r1", "status": "cancelled"})
    talk.answer("r2")
    talk.until(1.2)
    old, new = talk.turns
    assert old.stop_ms == pytest.approx(140)
    assert (old.problem, old.audio_s) == ("", 0.5)
    assert (new.number, new.stop_ms) == (1, None)


def test_an_error_ends_the_turn() -> None:
    talk = Talk(Scenario(sessions=1, turns=1))
    talk.until(0.2)
    talk.hear("error", error={"message": "no"})
    talk.until(0.24)
    assert [turn.problem for turn in talk.turns] == ["error: no"]


def test_an_answer_that_never_comes_is_given_up() -> None:
    talk = Talk(Scenario(sessions=1, turns=1, give_up_s=2.0))
    talk.until(2.1)
    assert [turn.problem for turn in talk.turns] == ["no whole answer in time"]


def test_the_original_protocol() -> None:
    language = Original()
    dialogue = Dialogue(
        Scenario(sessions=1, turns=1), QUESTION, 0.0, lambda number: language.fresh(1, number)
    )
    for now_s in (0.0, 0.02, 0.04):
        dialogue.sent(dialogue.next_frame(now_s), now_s, now_s)
    language.take(bytes(2048), dialogue, 0.14)
    assert language.frame(QUESTION, None) == b""
    language.take(b"DONE", dialogue, 0.15)
    assert language.frame(QUESTION, None) == "silence"
    assert not dialogue.ended(0.2)
    [turn] = dialogue.ended(0.21)
    assert turn.audio_ms == pytest.approx(100)
    assert turn.audio_s == pytest.approx(0.064)


def test_a_loudspeaker_that_runs_dry() -> None:
    playout = Playout(16_000)
    for now_s in (1.0, 1.1, 1.35, 1.4):  # 100 ms each
        playout.hear(1_600, now_s)
    assert playout.underruns == 1
    assert playout.underrun_s == pytest.approx(0.15)
    assert playout.played_until_s == pytest.approx(1.55)
    assert playout.jitter_s > 0


def test_a_steady_stream_has_no_jitter() -> None:
    playout = Playout(16_000)
    for number in range(10):
        playout.hear(1_600, number / 10)
    assert playout.jitter_s == pytest.approx(0)
    assert playout.underruns == 0


@pytest.mark.parametrize(
    ("url", "protocol", "there"),
    [
        ("ws://h:1", "realtime", "ws://h:1/v1/realtime?timings=true"),
        ("https://h/v1/realtime?model=x", "realtime", "wss://h/v1/realtime?model=x&timings=true"),
        ("http://h:1/", "original", "ws://h:1/ws"),
        ("wss://h/ws", "original", "wss://h/ws"),
    ],
)
def test_addresses(url: str, protocol: str, there: str) -> None:
    scenario = msgspec.convert({"sessions": 1, "protocol": protocol}, Scenario)
    assert address(url, scenario) == there


def test_all_at_once_or_spread() -> None:
    together = Scenario(sessions=4, arrival="together")
    assert starts_s(together, 3.0) == [0, 0, 0, 0]
    ramped = Scenario(sessions=4, arrival="together", ramp_s=8)
    assert starts_s(ramped, 3.0) == [0, 2, 4, 6]
    spread = starts_s(Scenario(sessions=50, every_s=10), 3.0)
    assert len(set(spread)) == 50
    assert all(0 <= start_s <= 10 for start_s in spread)


def test_hearing_nothing_is_not_over() -> None:
    assert not Hearing(0, 0, 24_000, marks=True).over(1e9)
