"""When a user who says nothing is answered all the same."""

from gateway.idle import Idle


def test_nobody_is_waited_for_before_an_answer() -> None:
    assert Idle().due_at_s(5_000) is None
    assert not Idle().take(1e9, 5_000)


def test_a_silence_is_too_long_once() -> None:
    idle = Idle()
    idle.begin(10.0)
    assert idle.due_at_s(5_000) == 15.0
    assert not idle.take(14.9, 5_000)
    assert idle.take(15.0, 5_000)
    assert not idle.take(99.0, 5_000)


def test_who_speaks_is_not_waited_for() -> None:
    idle = Idle()
    idle.begin(10.0)
    idle.end()
    assert not idle.take(99.0, 5_000)


def test_patience_may_change_while_it_lasts() -> None:
    idle = Idle()
    idle.begin(10.0)
    assert not idle.take(15.0, 6_000)
    assert idle.take(15.0, 5_000)
