"""The pane of the chat."""

from llmrouterd.commands.terminal import line_width
from llmrouterd.commands.tui.state import View
from llmrouterd.commands.tui.talk import lines
from tests.commands.tui.scene import scene, text_of


def talked() -> View:
    view = scene()
    view.chat.ask("hello 世界")
    view.chat.heard("let me see", thought=True)
    view.chat.heard("one two three four five\n\nsix \x1b[2J")
    return view


def test_what_was_said_is_set_in_lines() -> None:
    view = talked()
    assert text_of(lines(view, 20, 10)).splitlines() == [
        "\u25b8 hello 世界",
        "\u2502 let me see",
        "  one two three four",
        "  five",
        "",
        "  six \ufffd[2J",
        "  \u2026",
    ]
    view.chat.ended("a/m", "cut off")
    assert text_of(lines(view, 20, 10)).splitlines()[-2:] == ["  a/m", "\u2717 cut off"]


def test_the_end_is_shown_until_one_scrolls_back() -> None:
    view = talked()
    assert text_of(lines(view, 20, 2)).splitlines() == ["  six \ufffd[2J", "  \u2026"]
    view.scroll["chat"] = 4
    assert text_of(lines(view, 20, 2)).splitlines() == ["\u2502 let me see", "  one two three four"]
    view.scroll["chat"] = 999
    assert text_of(lines(view, 20, 2)).splitlines()[0] == "\u25b8 hello 世界"
    assert view.scroll["chat"] == 5


def test_no_line_is_too_wide() -> None:
    view = talked()
    view.chat.note("世界" * 40)
    for columns in (3, 10, 41):
        assert max(line_width(line) for line in lines(view, columns, 500)) <= max(columns, 4)


def test_before_anything_is_said_it_says_how() -> None:
    text = text_of(lines(scene(), 40, 5))
    assert "write to any" in text
    assert ":model NAME" in text
