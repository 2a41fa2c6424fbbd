"""Who speaks next."""

import asyncio

from workers.tts.turns import Line, Segment, Turns


def order(line: Line, *, again: int = 0) -> list[Segment]:
    """Who is called, each going back into the line while `again` turns are left."""
    called = []
    while (segment := line.call()) is not None:
        called.append(segment)
        segment.waited_for = False
        if again:
            again -= 1
            line.join(segment)
    return called


def joined(*segments: Segment) -> Line:
    line = Line()
    for segment in segments:
        line.join(segment)
    return line


def test_who_waits_in_silence_comes_first() -> None:
    later, first = Segment("a"), Segment("b", waited_for=True)
    assert order(joined(later, first)) == [first, later]


def test_those_who_wait_in_silence_come_in_the_order_they_came() -> None:
    segments = [Segment(name, waited_for=True) for name in "cab"]
    assert order(joined(*segments)) == segments


def test_sessions_take_turns_whatever_number_of_segments_they_have() -> None:
    many, other = [Segment("a") for _ in range(3)], Segment("b")
    called = order(joined(*many, other), again=3)
    assert [segment.session_id for segment in called[:5]] == ["a", "b", "a", "b", "a"]


def test_a_sessions_segments_follow_each_other() -> None:
    one, two = Segment("a"), Segment("a")
    assert order(joined(one, two), again=2) == [one, one, one, two]


def test_only_the_first_turn_comes_before_those_of_others() -> None:
    first, other = Segment("a", waited_for=True), Segment("b")
    assert order(joined(first, other), again=2) == [first, other, first, other]


def test_who_left_is_not_called() -> None:
    gone, other = Segment("a"), Segment("b")
    line = joined(gone, other)
    line.leave(gone)
    assert order(line) == [other]


async def test_a_turn_is_handed_on_at_its_end_and_one_given_up_is_not_lost() -> None:
    turns = Turns(1)
    taken: list[str] = []

    async def speak(segment: Segment) -> None:
        async with turns.turn(segment):
            taken.append(segment.session_id)

    async with asyncio.TaskGroup() as tasks:
        async with turns.turn(Segment("a")):
            waiting = tasks.create_task(speak(Segment("b")))
            called = tasks.create_task(speak(Segment("c")))
            tasks.create_task(speak(Segment("d")))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.sleep(0)
        called.cancel()  # it has the turn, and does not know it yet
    assert taken == ["d"]


async def test_who_gives_up_just_before_being_called_is_passed_over() -> None:
    turns = Turns(1)
    taken: list[str] = []

    async def speak(segment: Segment) -> None:
        async with turns.turn(segment):
            taken.append(segment.session_id)

    async with asyncio.TaskGroup() as tasks:
        async with turns.turn(Segment("a")):
            waiting = tasks.create_task(speak(Segment("b")))
            tasks.create_task(speak(Segment("c")))
            await asyncio.sleep(0)
            waiting.cancel()  # and it does not run again before the turn is handed on
        tasks.create_task(speak(Segment("d")))
    assert taken == ["c", "d"]
