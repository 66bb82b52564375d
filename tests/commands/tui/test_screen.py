"""The terminal, by curses: on a pseudo-terminal, without a router."""

import curses
import sys
from pathlib import Path

import pytest

from llmrouterd.commands.tui.screen import NoScreen, _name, check
from tests.fakes.terminal import Terminal

ROOT = Path(__file__).resolve().parents[3]
SHOWS = """
import sys, time
sys.path.insert(0, {root!r})
from llmrouterd.commands.terminal import Span
from llmrouterd.commands.tui.frame import Frame
from llmrouterd.commands.tui.screen import Screen
with Screen() as screen:
    rows, columns = screen.size
    lines = [(Span("first \\u4e16\\u754c \\u25cf", "good"),)] + [(Span("x" * columns),)] * (rows - 1)
    screen.paint(Frame(lines, (0, 3)))
    keys = []
    while "q" not in keys:
        keys += screen.keys()
        time.sleep(0.01)
    {then}
print(keys, screen.size)
"""


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a", "a"),
        ("世", "世"),
        ("\r", "ENTER"),
        ("\n", "ENTER"),
        ("\t", "TAB"),
        ("\x1b", "ESC"),
        ("\x7f", "BACKSPACE"),
        ("\x08", "BACKSPACE"),
        ("\x03", "CTRL-C"),
        ("\x15", "CTRL-U"),
        (curses.KEY_UP, "UP"),
        (curses.KEY_PPAGE, "PAGE-UP"),
        (curses.KEY_BTAB, "BACK-TAB"),
        (curses.KEY_RESIZE, ""),
        (curses.KEY_F12, ""),
    ],
)
def test_keys_have_names(key: str | int, name: str) -> None:
    assert _name(key) == name


def test_where_there_is_no_terminal_it_says_so() -> None:
    with pytest.raises(NoScreen, match="watch"):
        check()


def script(then: str = "pass") -> list[str]:
    return [sys.executable, "-c", SHOWS.format(root=str(ROOT), then=then)]


@pytest.mark.slow
def test_it_paints_to_the_last_cell_and_reads_keys() -> None:
    with Terminal(script(), rows=5, columns=100) as terminal:
        text = terminal.shows("first 世", "x" * 100)
        assert "●" in text
        terminal.type("a\x1bOA\x1b[B\x1b[5~ü世\x1b")
        terminal.type("q")
        assert terminal.ended() == 0
        assert "['a', 'UP', 'DOWN', 'PAGE-UP', 'ü', '世', 'ESC', 'q'] (5, 100)" in terminal.text
        assert terminal.is_as_before()


@pytest.mark.slow
@pytest.mark.parametrize("then", ["raise ValueError('on purpose')", "raise KeyboardInterrupt"])
def test_whatever_flies_through_it_leaves_the_terminal_as_it_was(then: str) -> None:
    with Terminal(script(then)) as terminal:
        terminal.shows("first")
        assert terminal.modes != terminal.before
        terminal.type("q")
        terminal.ended()
        assert terminal.is_as_before()


@pytest.mark.slow
def test_where_only_ascii_can_be_shown_signs_are_replaced() -> None:
    env = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    env["PYTHONIOENCODING"] = "utf-8"
    with Terminal(script(), env=env) as terminal:
        terminal.shows("first ???? *")
        terminal.type("q")
        assert terminal.ended() == 0
