"""A line that is being typed."""

from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.commands.terminal import width
from llmrouterd.commands.tui.typed import LONGEST, Typed


def typed(*keys: str, text: str = "") -> Typed:
    line = Typed(text)
    for key in keys:
        assert line.key(key)
    return line


def test_characters_go_in_where_the_cursor_is() -> None:
    line = typed("a", "c", "LEFT", "b", "HOME", "世", "END", "!")
    assert (line.text, line.at) == ("世abc!", 5)


def test_deleting() -> None:
    assert typed("BACKSPACE", text="ab").text == "a"
    assert typed("HOME", "BACKSPACE", "DELETE", text="ab").text == "b"
    assert typed("CTRL-W", text="one two ").text == "one "
    assert typed("LEFT", "CTRL-U", text="one two").text == "o"
    assert typed("HOME", "CTRL-K", text="one two").text == ""


def test_what_is_no_key_of_typing_is_left_to_others() -> None:
    line = Typed("x")
    assert not line.key("TAB")
    assert not line.key("CTRL-X")
    assert not line.key("F1")
    assert line.text == "x"


def test_what_was_sent_can_be_had_again() -> None:
    line = Typed()
    for text in ("one", "two", "two", " "):
        line.put(text)
        assert line.take() == text
    line.put("draft")
    line.key("UP")
    assert line.text == "two"
    line.key("UP")
    line.key("UP")
    assert line.text == "one"
    line.key("DOWN")
    line.key("DOWN")
    assert line.text == "draft"
    line.key("DOWN")
    assert line.text == "draft"


def test_its_length_is_bounded() -> None:
    line = Typed()
    line.put("x" * (LONGEST + 5))
    line.key("y")
    assert len(line.text) == LONGEST


@given(st.text(max_size=40), st.integers(0, 40), st.integers(2, 20))
def test_the_cursor_is_always_to_be_seen(text: str, at: int, columns: int) -> None:
    line = Typed(text)
    line.at = min(at, len(text))
    before, column = line.shown(columns)
    assert 0 <= column < max(columns, 2)
    assert column <= width(before)
