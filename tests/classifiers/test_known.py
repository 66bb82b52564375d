"""llmrouterd/classifiers/known.py"""

from llmrouterd.classifiers.known import Known, digest


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    known: Known[int] = Known(2)
    known.put(b"a", 1)
    known.put(b"b", 2)
    assert known.get(b"a") == 1
    known.put(b"c", 3)
    assert (known.get(b"a"), known.get(b"b"), known.get(b"c")) == (1, None, 3)
    assert len(known) == 2


def test_a_memory_of_nothing_remembers_nothing() -> None:
    known: Known[int] = Known(0)
    known.put(b"a", 1)
    assert known.get(b"a") is None


def test_a_digest_is_short_and_its_own() -> None:
    assert len(digest("x" * 100000)) == 16
    assert digest("a") != digest("b")
    assert digest("\ud800") != digest("\ud801")
