"""The terminal, by curses.

Owns: entering and leaving the whole screen, painting a Frame, reading keys, styles as attributes.
Refuses to know: what is painted, what a key does, waiting: it never blocks.

Laws:
1. However the `with` block is left, the terminal is as it was: modes, cursor, the screen before it.
2. Without colours, or with NO_COLOR, everything can be told apart that must be.
"""

from __future__ import annotations

import contextlib
import curses
import locale
import os
import sys
from typing import TYPE_CHECKING

from llmrouterd.commands.terminal import as_ascii

if TYPE_CHECKING:
    from types import TracebackType

    from llmrouterd.commands.tui.frame import Frame

_ESCAPE_MS = 50  # how long after ESC the rest of a key's sequence may come
_MOST_KEYS = 1000  # of one reading: a paste must not keep the screen from being painted
_COLOURS = {
    "good": curses.COLOR_GREEN,
    "bad": curses.COLOR_RED,
    "warn": curses.COLOR_YELLOW,
    "accent": curses.COLOR_CYAN,
    "tag": curses.COLOR_MAGENTA,
}
_PLAIN = {
    "dim": curses.A_DIM,
    "bold": curses.A_BOLD,
    "bad": curses.A_BOLD,
    "bar": curses.A_REVERSE,
    "title": curses.A_REVERSE | curses.A_BOLD,
    "head": curses.A_UNDERLINE,
    "chosen": curses.A_REVERSE,
}
_KEYS = {
    curses.KEY_UP: "UP",
    curses.KEY_DOWN: "DOWN",
    curses.KEY_LEFT: "LEFT",
    curses.KEY_RIGHT: "RIGHT",
    curses.KEY_HOME: "HOME",
    curses.KEY_END: "END",
    curses.KEY_PPAGE: "PAGE-UP",
    curses.KEY_NPAGE: "PAGE-DOWN",
    curses.KEY_BACKSPACE: "BACKSPACE",
    curses.KEY_DC: "DELETE",
    curses.KEY_ENTER: "ENTER",
    curses.KEY_BTAB: "BACK-TAB",
    curses.KEY_F1: "F1",
}
_ARROWS = {"A": "UP", "B": "DOWN", "C": "RIGHT", "D": "LEFT", "H": "HOME", "F": "END"}
_CONTROLS = {
    "\n": "ENTER",
    "\r": "ENTER",
    "\t": "TAB",
    "\x1b": "ESC",
    "\x7f": "BACKSPACE",
    "\x08": "BACKSPACE",
}


class NoScreen(Exception):
    """This terminal cannot do it; the text says why."""


def check() -> None:
    """Raises: NoScreen. curses itself would end the process."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NoScreen("this is no terminal; 'llmrouter watch' prints to anything")
    try:
        curses.setupterm()
    except curses.error:
        name = os.environ.get("TERM") or "(not set)"
        raise NoScreen(f"the terminal type {name} is not known here: set TERM") from None
    if not curses.tigetstr("cup"):
        raise NoScreen("this terminal cannot move its cursor; 'llmrouter watch' needs none")


class Screen:
    """`with Screen() as screen:`"""

    def __enter__(self) -> Screen:
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, "")
        self._ascii = "UTF" not in locale.getpreferredencoding(False).upper()
        self._window = curses.initscr()
        try:
            self._set_up()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _set_up(self) -> None:
        curses.noecho()
        curses.cbreak()
        curses.nonl()
        curses.set_escdelay(_ESCAPE_MS)
        self._window.keypad(True)
        self._window.nodelay(True)
        self._window.leaveok(False)
        self._attributes = dict(_PLAIN)
        if curses.has_colors() and not os.environ.get("NO_COLOR"):
            self._set_colours()

    def _set_colours(self) -> None:
        curses.start_color()
        background = curses.COLOR_BLACK
        with contextlib.suppress(curses.error):
            curses.use_default_colors()
            background = -1
        for number, (style, colour) in enumerate(_COLOURS.items(), 1):
            with contextlib.suppress(curses.error):
                curses.init_pair(number, colour, background)
                self._attributes[style] = curses.color_pair(number)

    def _leave(self) -> None:
        """Twice is no harm; on a terminal that is gone nothing can be done."""
        with contextlib.suppress(curses.error):
            curses.curs_set(1)
        with contextlib.suppress(curses.error):
            curses.endwin()

    # --- while it is there ------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self._window.getmaxyx()
        return rows, columns

    def resize(self) -> None:
        """The terminal has another size now."""
        with contextlib.suppress(OSError, curses.error):
            size = os.get_terminal_size(sys.stdout.fileno())
            if size.lines and size.columns:
                curses.resizeterm(size.lines, size.columns)
        self.redraw()

    def redraw(self) -> None:
        """Paint everything the next time, whatever is believed to stand there."""
        self._window.clearok(True)

    def rest(self) -> None:
        """Give the terminal back for a while."""
        self._leave()

    def wake(self) -> None:
        """After `rest`: the screen again, in the size it has now."""
        curses.reset_prog_mode()
        self._window.refresh()
        self.resize()

    def paint(self, frame: Frame) -> None:
        window = self._window
        window.erase()
        for row, line in enumerate(frame.lines):
            column = 0
            with contextlib.suppress(
                curses.error
            ):  # the last cell of the last row, a shrunk screen
                window.move(row, column)
                for text, style in line:
                    shown = as_ascii(text) if self._ascii else text
                    window.addstr(shown, self._attributes.get(style, curses.A_NORMAL))
        with contextlib.suppress(curses.error):
            curses.curs_set(0 if frame.cursor is None else 1)
        if frame.cursor is not None:
            with contextlib.suppress(curses.error):
                window.move(*frame.cursor)
        window.refresh()

    def keys(self) -> list[str]:
        """The names of the keys that were pressed."""
        out: list[str] = []
        while len(out) < _MOST_KEYS:
            try:
                key = self._window.get_wch()
            except curses.error:
                break
            name = _name(key)
            if name:
                out.append(name)
        return _joined(out)


def _joined(names: list[str]) -> list[str]:
    """Arrows of terminals that do not send what their description says: ESC [ A."""
    out: list[str] = []
    for name in names:
        if out[-2:] in (["ESC", "["], ["ESC", "O"]) and name in _ARROWS:
            out[-2:] = [_ARROWS[name]]
        else:
            out.append(name)
    return out


def _name(key: int | str) -> str:
    if isinstance(key, int):
        return _KEYS.get(key, "")
    if key in _CONTROLS:
        return _CONTROLS[key]
    return f"CTRL-{chr(ord(key) + 64)}" if key < " " else key
