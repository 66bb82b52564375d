"""The panes on screens of many sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.commands.tui.frame import frame
from llmrouterd.commands.tui.keys import press
from llmrouterd.commands.tui.state import View
from tests.commands.tui.scene import busy, scene, shown


def keys(view: View, *names: str) -> View:
    for name in names:
        press(view, name)
    return view


def test_an_ordinary_terminal_shows_feed_statistics_and_chat() -> None:
    text = shown(busy())
    for word in ("Requests", "Statistics", "Chat", "live", "1 in flight", "1 done", "1 failed"):
        assert word in text
    assert "Providers" not in text
    text = shown(keys(busy(), "3"))
    assert "Providers" in text
    assert "Statistics" not in text


def test_a_large_one_shows_all_four() -> None:
    text = shown(busy(), 40, 120)
    for word in ("Requests", "Statistics", "Providers", "Chat", "http://router:8090"):
        assert word in text


@pytest.mark.parametrize(
    ("key", "title"), [("1", "Requests"), ("2", "Statistics"), ("3", "Providers"), ("4", "Chat")]
)
def test_a_small_one_shows_the_pane_that_has_the_keys(key: str, title: str) -> None:
    text = shown(keys(busy(), key), 12, 40)
    assert title in text
    assert sum(each in text for each in ("Requests", "Statistics", "Providers", "Chat ")) <= 2


def test_zooming_gives_a_pane_the_whole_screen() -> None:
    text = shown(keys(busy(), "z"))
    assert "Requests" in text
    assert "Statistics" not in text


EVERY = ("TAB", "z", "?", "ENTER", "j", "G", "i", "/", "ESC", "p", "x", "4", "PAGE-UP", "世")


@given(st.integers(1, 60), st.integers(1, 200), st.lists(st.sampled_from(EVERY), max_size=8))
def test_in_any_size_and_state_each_line_is_as_wide_as_the_screen(
    rows: int, columns: int, pressed: list[str]
) -> None:
    view = keys(busy(), *pressed)
    made = frame(view, rows, columns)
    assert len(made.lines) == max(rows, 3)
    if rows >= 3 and columns >= 10:
        shown(view, rows, columns)


def test_the_cursor_is_where_one_types() -> None:
    made = frame(keys(busy(), "i", "a", "世"), 24, 80)
    assert made.cursor is not None
    row, column = made.cursor
    line = "".join(span.text for span in made.lines[row])
    assert "> a世" in line
    assert column == line.index("> a世") + 2 + 3
    made = frame(keys(busy(), "/", "a", "b"), 24, 80)
    assert made.cursor == (23, 10)
    assert frame(busy(), 24, 80).cursor is None


def test_what_is_wrong_with_a_filter_is_said_at_once() -> None:
    assert "there is no 'x'" in shown(keys(busy(), "/", "x", "="))


def test_the_bottom_line_says_what_is_wrong_with_the_connection() -> None:
    view = scene()
    view.link, view.why = "away", "refused; trying again"
    assert "refused; trying again" in shown(view).splitlines()[-1]
    assert "away" in shown(view).splitlines()[0]


def test_one_request_covers_all_and_scrolls_to_its_end() -> None:
    view = keys(busy(), "j", "ENTER")
    text = shown(view, 12, 80)
    assert "Request #2" in text
    assert "more" in text
    keys(view, "G")
    text = shown(view, 12, 80)
    assert "more" not in text.splitlines()[-2]
    keys(view, "k")
    shown(view, 12, 80)
    assert view.scroll["detail"] < 100


def test_long_words_are_set_in_lines_once(monkeypatch: pytest.MonkeyPatch) -> None:
    view = keys(busy(), "j", "ENTER")
    made = []
    real = frame.__globals__["detail"].lines
    monkeypatch.setattr(frame.__globals__["detail"], "lines", lambda *a: made.append(a) or real(*a))
    for _ in range(5):
        shown(view)
    view.words = {"system": "new words"}
    assert "new words" in shown(view, 60, 80)
    assert len(made) == 2


def test_paused_and_lost_are_to_be_seen() -> None:
    view = keys(busy(), "p")
    view.board.apply({"type": "lost", "count": 7})
    top = shown(view, 24, 120).splitlines()[0]
    assert "paused" in top
    assert "7 lost" in top
