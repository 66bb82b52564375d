"""Connections of several workers, counted in memory that they share."""

import os

from llmrouterd.ops.tally import Counted, Tally


def test_the_limit_is_one_over_all() -> None:
    tally = Tally(2)
    one, other = Counted(10, tally, 1), Counted(10, tally, 2)
    one.came()
    one.came()
    other.came()
    assert (one.open, other.open, tally.total) == (2, 1, 3)
    assert one.full(3)
    assert other.full(3)
    one.went()
    assert not other.full(3)
    tally.put(1, 0)  # it was killed
    assert tally.total == 1


def test_a_fork_writes_where_its_parent_reads() -> None:
    tally = Tally(1)
    pid = os.fork()
    if pid == 0:
        Counted(10, tally, 1).came()
        os._exit(0)
    os.waitpid(pid, 0)
    assert tally.total == 1
