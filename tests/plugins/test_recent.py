"""What a plugin keeps for a while."""

from llmrouterd.plugins.recent import Recent


def test_an_entry_is_good_for_its_time() -> None:
    now = [0.0]
    recent: Recent[str, int] = Recent(10, 4, lambda: now[0])
    recent.keep("a", 1)
    now[0] = 9.9
    assert recent.get("a") == 1
    now[0] = 10.0
    assert recent.get("a") is None


def test_keeping_it_again_makes_it_young() -> None:
    now = [0.0]
    recent: Recent[str, int] = Recent(10, 2, lambda: now[0])
    recent.keep("a", 1)
    recent.keep("b", 2)
    now[0] = 5.0
    recent.keep("a", 3)
    recent.keep("c", 4)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (3, None, 4)
    now[0] = 14.0
    assert recent.get("a") == 3


def test_the_oldest_goes_when_there_are_too_many() -> None:
    recent: Recent[int, int] = Recent(10, 3, lambda: 0.0)
    for number in range(5):
        recent.keep(number, number)
    assert len(recent) == 3
    assert [recent.get(number) for number in range(5)] == [None, None, 2, 3, 4]


def test_no_time_means_that_nothing_is_kept() -> None:
    recent: Recent[str, int] = Recent(0, 3, lambda: 0.0)
    recent.keep("a", 1)
    assert len(recent) == 0
