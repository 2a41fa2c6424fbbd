"""What a trace of the server's calls says was on the disk."""

from bench.durability import synced

AOF = "/data/appendonlydir/appendonly.aof.1.incr.aof"


def test_only_what_was_written_before_the_call_of_a_sync_that_returned_is_on_the_disk() -> None:
    trace = f"""\
7 write(9<{AOF}>, ""..., 100) = 100
7 write(5<socket:[1]>, ""..., 40) = 40
8 fdatasync(9<{AOF}> <unfinished ...>
7 write(9<{AOF}>, ""..., 50) = 50
8 <... fdatasync resumed>) = 0
7 write(9<{AOF}>, ""..., 30 <unfinished ...>
7 <... write resumed>) = 30
8 fdatasync(9<{AOF}> <unfinished ...>
8 +++ killed by SIGKILL +++
"""
    assert synced(trace) == {AOF: 100}


def test_without_a_sync_nothing_is_on_the_disk() -> None:
    assert synced(f'7 write(9<{AOF}>, ""..., 100) = 100') == {AOF: 0}
