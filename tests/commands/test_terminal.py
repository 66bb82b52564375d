"""Text for a terminal: nothing harmful in it, and as wide as it is said to be."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.commands.terminal import (
    Span,
    as_ascii,
    clean,
    clean_lines,
    cut,
    fit,
    fit_line,
    fit_right,
    line_width,
    painted,
    width,
    wrap,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[2J\x1b]0;title\x07", "\ufffd[2J\ufffd]0;title\ufffd"),
        ("\x9b31m", "\ufffd31m"),  # the one-byte form of ESC [
        ("abc\u202edcba", "abc\ufffddcba"),  # would turn the direction of what follows
        ("a\u2066b\u2069\u200e\u200b\ufeff", "a\ufffdb\ufffd\ufffd\ufffd\ufffd"),
        ("one\ntwo\r\nthree\rfour\u2028five\x85six", "one two three four five six"),
        ("a\tb", "a    b"),
        ("\ud800", "\ufffd"),
        ("\U000e0041", "\ufffd"),  # a tag character
        ("\u3164\u2800", "\ufffd\ufffd"),  # letters that look like nothing
        ("\u2764\ufe0f", "\u2764"),
        ("e\u0301", "e\u0301"),
        ("\u0301x", "x"),
        ("z" + "\u0335" * 50, "z" + "\u0335" * 3),
        ("世界 Grüße", "世界 Grüße"),
        (None, ""),
        (12, "12"),
    ],
)
def test_what_reaches_the_terminal(text: object, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_nothing_harmful_is_left_of_any_text(text: str) -> None:
    shown = clean(text)
    assert all(unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in shown)
    assert clean(shown) == shown


def test_a_long_text_is_cut() -> None:
    assert clean("x" * 1000, limit=10) == "x" * 9 + "\u2026"
    assert clean_lines("a\nb\n\nc", limit=100) == ["a", "b", "", "c"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("abc", 3), ("世界", 4), ("e\u0301", 1), ("\uff46", 2), ("가", 2), ("→", 1)],
)
def test_columns_are_those_of_a_terminal(text: str, columns: int) -> None:
    assert width(text) == columns


@given(st.text(), st.integers(0, 30))
def test_what_is_fitted_is_exactly_as_wide(text: str, columns: int) -> None:
    text = clean(text)
    assert width(fit(text, columns)) == width(fit_right(text, columns)) == columns
    assert width(cut(text, columns)) <= columns
    assert line_width(fit_line([Span(text), Span(text, "bad")], columns)) == columns


def test_a_wide_character_is_not_cut_in_two() -> None:
    assert fit("世界", 3) == "世\u2026"
    assert fit("世界", 2) == "\u2026 "
    assert fit_right("世", 3) == " 世"


@given(st.text(), st.integers(2, 30))
def test_wrapped_lines_fit_and_lose_nothing_but_spaces(text: str, columns: int) -> None:
    text = clean(text, limit=2000)
    pieces = list(wrap(text, columns))
    assert all(width(piece) <= columns for piece in pieces)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


def test_lines_are_broken_at_spaces() -> None:
    assert list(wrap("one two three", 8)) == ["one two", "three"]
    assert list(wrap("onetwothree four", 6)) == ["onetwo", "three", "four"]
    assert list(wrap("", 6)) == [""]


def test_a_fitted_line_has_one_style_where_one_is_given() -> None:
    assert fit_line([Span("ab", "bad"), Span("cd")], 5, "chosen") == (
        Span("ab", "chosen"),
        Span("cd", "chosen"),
        Span(" ", "chosen"),
    )


def test_without_unicode_signs_become_ascii_in_as_many_columns() -> None:
    shown = as_ascii("● a → b … 世 é")
    assert shown == "* a > b ~ ?? ?"
    assert shown.isascii()


def test_colours_are_put_round_words_only_when_wanted() -> None:
    line = (Span("bad", "bad"), Span("  ", "bad"), Span("plain"), Span("  "))
    assert painted(line, colours=False) == "bad  plain"
    assert painted(line, colours=True) == "\x1b[31mbad\x1b[0m  plain"
