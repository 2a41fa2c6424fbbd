"""Which turns are left out when a conversation grows too long."""

from itertools import pairwise

from workers.llm.engines import Message
from workers.llm.engines.history import shortened


def turns(count: int) -> list[Message]:
    return [
        Message("user" if number % 2 == 0 else "assistant", f"{number:04}" * 5)
        for number in range(count)
    ]


SYSTEM = Message("system", "Be kind.")


def test_the_whole_conversation_comes_first() -> None:
    messages = [SYSTEM, *turns(7)]
    assert shortened(messages, 40)[0] == messages


def test_instructions_and_the_last_question_stay() -> None:
    later = Message("system", "And brief.")
    messages = [SYSTEM, *turns(6), later, Message("user", "Well?")]
    for version in shortened(messages, 40):
        assert version[0] == SYSTEM
        assert later in version
        assert version[-1] == messages[-1]
    assert shortened(messages, 40)[-1] == [SYSTEM, later, messages[-1]]


def test_what_remains_begins_with_a_question() -> None:
    for version in shortened([SYSTEM, *turns(21)], 100):
        assert version[1].role == "user"


def test_each_version_is_shorter_by_a_block() -> None:
    versions = shortened([SYSTEM, *turns(41)], 100)
    sizes = [sum(len(m.content) for m in version[1:]) for version in versions]
    assert all(longer - shorter >= 100 for longer, shorter in pairwise(sizes[:-1]))


def test_a_growing_conversation_is_cut_at_the_same_places() -> None:
    def cuts(count: int) -> set[Message]:
        return {version[1] for version in shortened([SYSTEM, *turns(count)], 200)[:-1]}

    assert cuts(41) <= cuts(61)


def test_nothing_to_leave_out_is_one_version() -> None:
    assert shortened([], 40) == [[]]
    assert shortened([SYSTEM], 40) == [[SYSTEM]]
    assert shortened([SYSTEM, *turns(1)], 40) == [[SYSTEM, *turns(1)]]
