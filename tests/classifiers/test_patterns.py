"""llmrouterd/classifiers/patterns.py"""

import re

import pytest

from llmrouterd.classifiers.patterns import WINDOW, compiled, occurs, windows


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"\bfoo\b", "(?i)foo|bar", "[a-z]+@[a-z]+", r"(?:\d{1,3}\.){3}\d{1,3}", "a{2,5}b*"),
        *("(foo|bar) baz", r"\(a+\)+", "[(a+)]+", "(ab)+", "(a+)?b", "^#+ ", r"(?P<n>x)"),
    ],
)
def test_usual_patterns_are_taken(pattern: str) -> None:
    assert compiled(pattern).pattern == pattern


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "not a regular expression"),
        ("a*", "found in every text"),
        ("x|", "found in every text"),
        ("(a+)+b", "repeated itself"),
        ("(a*)*b", "repeated itself"),
        ("(?:a|aa)+b", "repeated itself"),
        ("((a+)b?)*c", "repeated itself"),
        ("(a+){2,}b", "repeated itself"),
        ("(a+){1,50}b", "repeated itself"),
        ("x{99999999999}", "not a regular expression"),
    ],
)
def test_what_could_go_wrong_is_refused_in_words(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compiled(pattern)


def test_a_line_is_looked_at_by_itself() -> None:
    assert occurs(compiled("^b$"), "a\nb\nc")
    assert not occurs(compiled("a[\\s\\S]b"), "a\nb")


def test_in_a_long_line_everything_is_looked_at() -> None:
    line = "x" * 5000 + "needle" + "y" * 5000
    assert occurs(re.compile("needle"), line)
    assert all(len(window) <= WINDOW for window in windows(line))
    for at in range(WINDOW - 200, WINDOW + 50, 7):
        assert occurs(re.compile("needle"), "x" * at + "needle" + "y" * 3000)
