"""What a key does.

Owns: the table of keys in each mode; the changes they make to a View.
Refuses to know: curses; it is told names such as `q`, `TAB`, `PAGE-DOWN`. What needs the network comes
back as an Act.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from llmrouterd.commands.tui.state import PANES

if TYPE_CHECKING:
    from llmrouterd.commands.tui.state import View

END = 1 << 30
_PAGE = 10
_MOVES = {
    "UP": -1,
    "k": -1,
    "DOWN": 1,
    "j": 1,
    "PAGE-UP": -_PAGE,
    "CTRL-B": -_PAGE,
    "PAGE-DOWN": _PAGE,
    "CTRL-F": _PAGE,
    " ": _PAGE,
    "HOME": -END,
    "g": -END,
    "END": END,
    "G": END,
}


class Act(NamedTuple):
    """What the keys cannot do by themselves."""

    kind: Literal["quit", "send", "stop", "open", "redraw"]
    text: str = ""


def press(view: View, key: str) -> Act | None:
    """Take one key."""
    if key == "CTRL-C":
        return Act("quit")
    if key == "CTRL-L":
        return Act("redraw")
    if view.mode == "chatting":
        return _chatting(view, key)
    if view.mode == "filtering":
        return _filtering(view, key)
    return _browsing(view, key)


def _chatting(view: View, key: str) -> Act | None:
    if key == "ESC":
        view.mode = "browsing"
    elif key in ("TAB", "BACK-TAB"):
        view.mode = "browsing"
        _turn(view, 1 if key == "TAB" else -1)
    elif key in ("PAGE-UP", "PAGE-DOWN"):
        view.scroll_by("chat", _PAGE if key == "PAGE-UP" else -_PAGE)
    elif key == "ENTER":
        return _send(view)
    else:
        view.line.key(key)
    return None


def _send(view: View) -> Act | None:
    line = view.line.text.strip()
    if not line:
        return None
    if line.startswith(":"):
        view.line.take()
        view.chat.command(line)
        return None
    if view.chat.busy:
        return None  # what is typed stays, to be sent when the answer is there
    view.scroll["chat"] = 0
    return Act("send", view.line.take().strip())


def _filtering(view: View, key: str) -> Act | None:
    if key == "ESC":
        view.filter_line.put("")
        view.set_filter("")
        view.mode = "browsing"
    elif key == "ENTER":
        view.mode = "browsing"
    elif view.filter_line.key(key):
        view.set_filter(view.filter_line.text)
        view.selected = None
    return None


def _browsing(view: View, key: str) -> Act | None:
    if key == "q":
        return Act("quit")
    if key in _MOVES:
        _move(view, _MOVES[key])
    elif key in ("TAB", "BACK-TAB"):
        view.over = ""
        _turn(view, 1 if key == "TAB" else -1)
    elif key in ("i", ":"):
        view.over, view.mode = "", "chatting"
        view.go("chat")
        if key == ":" and not view.line.text:
            view.line.put(":")
    elif key in ("?", "F1"):
        view.over = "" if view.over == "guide" else "guide"
        view.scroll["guide"] = 0
    elif key in ("ESC", "LEFT", "BACKSPACE"):
        return _back(view, key)
    elif key in ("ENTER", "RIGHT"):
        return _enter(view)
    else:
        _switch(view, key)
    return None


def _switch(view: View, key: str) -> None:
    if key == "p":
        view.pause()
    elif key == "z":
        view.zoomed = not view.zoomed
    elif key == "/":
        view.over, view.mode = "", "filtering"
        view.go("feed")
    elif key == "e":
        errors = view.filter_line.text != "errors"
        view.filter_line.put("errors" if errors else "")
        view.set_filter(view.filter_line.text)
        view.selected = None
    elif key in "1234":
        view.over = ""
        view.go(PANES[int(key) - 1])


def _turn(view: View, by: int) -> None:
    view.go(PANES[(PANES.index(view.pane) + by) % len(PANES)])


def _move(view: View, by: int) -> None:
    if view.over:
        view.scroll_by(view.over, by)
    elif view.pane == "feed":
        view.select(by)
    else:
        view.scroll_by(view.pane, -by if view.pane == "chat" else by)


def _back(view: View, key: str) -> Act | None:
    if view.over:
        view.over = ""
    elif key == "ESC" and view.pane == "chat" and view.chat.busy:
        return Act("stop")
    elif key == "ESC" and view.zoomed:
        view.zoomed = False
    elif key == "ESC" and view.filter_line.text:
        view.filter_line.put("")
        view.set_filter("")
    return None


def _enter(view: View) -> Act | None:
    if view.over:
        return None
    if view.pane == "chat":
        view.mode = "chatting"
        return None
    chosen = view.chosen()
    if view.pane != "feed" or chosen is None:
        return None
    view.show(chosen)
    return Act("open")
