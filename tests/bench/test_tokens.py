"""What the benchmark of language models says of answers."""

from bench.tokens import Told, at_once, begun_row, row, session, tell
from shared.settings import Settings
from tests.llm.storyteller import STORY, Storyteller
from workers.llm.engines import Message, Prompt, create


def told(first_s: float, whole_s: float, tokens: int) -> Told:
    return Told(first_s, (first_s + whole_s) / 2, whole_s, tokens, tokens // 2)


async def test_every_answer_is_timed_and_counted() -> None:
    engine = create(Settings(llm_engine="paced", paced_token_ms=1))
    answers = await at_once(engine, "Be brief.", count=8, tokens=5)
    assert [answer.tokens for answer in answers] == [5] * 8
    assert all(0 < answer.first_s < answer.whole_s for answer in answers)


async def test_speech_can_begin_when_the_first_segment_is_whole() -> None:
    answer, text = await tell(Storyteller(), Prompt([Message("user", "Tell me a story.")]))
    assert text == STORY
    assert STORY.startswith(segment := "Once there was a lighthouse keeper who counted ")
    assert answer.segment_steps == segment.count(" ")
    assert answer.first_s <= answer.segment_s < answer.whole_s


async def test_an_answer_of_one_segment_is_spoken_at_its_end() -> None:
    engine = create(Settings(llm_engine="paced", paced_token_ms=1))
    answer, _ = await tell(engine, Prompt([Message("user", "Hello")], max_tokens=2))
    assert (answer.segment_s, answer.segment_steps) == (answer.whole_s, 2)


async def test_a_session_asks_twice_and_may_be_read_ahead() -> None:
    engine = Storyteller()
    asked = await session(engine, 1, read_ahead=True)
    assert [[m.role for m in prompt.messages] for prompt in engine.prompts] == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
    ]
    assert engine.read[0].messages == engine.prompts[0].messages[:1]
    assert asked.first.whole_s > 0
    assert asked.second.whole_s > 0
    await session(engine, 2, read_ahead=False)
    assert len(engine.read) == 1


def test_a_row_adds_up_answers_given_at_once() -> None:
    assert row([told(0.1, 1.0, 10), told(0.3, 2.0, 30)], alone=[told(0.1, 1.0, 10)]) == (
        "2",
        "40",
        "20.0",
        "2.00",
        "12.5",
        "200",
        "300",
    )


def test_how_answers_begin_is_told_by_medians() -> None:
    answers = [told(0.1, 0.5, 10), told(0.2, 0.6, 20), told(0.9, 9.0, 90)]
    assert begun_row(answers) == ("3", "200", "400", "10")
