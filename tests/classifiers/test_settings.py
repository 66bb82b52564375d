"""llmrouterd/classifiers/settings.py"""

import pytest

from llmrouterd.classifiers.settings import Settings


def test_what_is_right_is_given_and_what_is_missing_has_its_default() -> None:
    read = Settings({"a": "x", "n": 2, "s": True, "l": ["p"], "t": {"k": ["v"]}, "m": {"k": "v"}})
    assert (read.text("a"), read.text("b", "d")) == ("x", "d")
    assert (read.number("n", 1, 0), read.number("o", 1.5, 0)) == (2, 1.5)
    assert (read.switch("s"), read.switch("u")) == (True, False)
    assert (read.texts("l"), read.some_of("l", ("p", "q"))) == (("p",), ("p",))
    assert (read.lists("t"), read.map("m")) == ({"k": ("v",)}, {"k": "v"})
    read.settle()


def test_everything_that_is_wrong_is_said_at_once() -> None:
    read = Settings({"a": 1, "n": "x", "s": 1, "l": "p", "t": [], "m": {"k": 1}, "z": True})
    read.text("a")
    read.number("n", 1, 0, 9)
    read.number("z", 1, 0)
    read.switch("s")
    read.texts("l")
    read.lists("t")
    read.map("m")
    with pytest.raises(ValueError, match="a: expected") as caught:
        read.settle()
    assert str(caught.value).splitlines() == [
        "a: expected a text",
        "n: expected a number from 0 to 9",
        "z: expected a number from 0 to 1e+09",
        "s: expected true or false",
        "l: expected a list of texts",
        't: expected a table of lists, such as { code = ["python"] }',
        "m: expected a table of texts",
    ]


def test_a_word_of_a_few_is_one_of_them() -> None:
    read = Settings({"l": ["p", "x"]})
    assert read.some_of("l", ("p", "q")) == ("p",)
    with pytest.raises(ValueError, match=r"l\[1\]: expected one of p, q"):
        read.settle()
