"""The panes on a screen of so many rows and columns.

Owns: which pane is where and how large, titles, the line at the top and the one at the bottom, the
cursor, how far one can scroll.
Refuses to know: curses; a Frame is styled lines, each exactly as wide as the screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.commands import words
from llmrouterd.commands.terminal import Line, Span, clean, fit_line, line_width
from llmrouterd.commands.tui import detail, feed, figures, guide, providers, talk

if TYPE_CHECKING:
    from llmrouterd.commands.tui.state import Pane, View

_LEAST_ROWS = 16  # with fewer only the pane that has the keys is shown
_LEAST_COLUMNS = 60
_BOTH_LEFT = 15  # rows from which figures and providers stand one above the other
_TITLES = {
    "feed": "Requests",
    "figures": "Statistics",
    "providers": "Providers",
    "chat": "Chat",
}
_LINKS = {"connecting": "warn", "live": "good", "away": "bad", "refused": "bad"}
_HINTS = {
    "feed": "Enter detail  / filter  e errors  p pause",
    "figures": "j k scroll",
    "providers": "j k scroll",
    "chat": "i write  PgUp back",
}
_PROMPT = "> "


class Frame(NamedTuple):
    """cursor: row and column, where one is to be seen."""

    lines: list[Line]
    cursor: tuple[int, int] | None


def frame(view: View, rows: int, columns: int) -> Frame:
    """The whole screen."""
    rows, columns = max(rows, 3), max(columns, 10)
    inner = rows - 2
    if view.over:
        body, cursor = _over(view, inner, columns), None
    elif view.zoomed or rows < _LEAST_ROWS or columns < _LEAST_COLUMNS:
        body, cursor = _pane(view, view.pane, inner, columns)
    else:
        body, cursor = _all(view, inner, columns)
    bottom, typed = _bottom(view, columns)
    if typed is not None:
        cursor = (inner, typed)
    lines = [_top(view, columns), *body, bottom]
    return Frame([fit_line(line, columns) for line in lines], _below_top(cursor, columns))


def _below_top(cursor: tuple[int, int] | None, columns: int) -> tuple[int, int] | None:
    return None if cursor is None else (cursor[0] + 1, min(cursor[1], columns - 1))


# --- top and bottom -------------------------------------------------------------------------------


def _top(view: View, columns: int) -> Line:
    total = view.board.figures.total
    running = len(view.board.running)
    rate = sum(each.rate or 0 for each in view.board.running.values())
    link = view.link + (" (paused)" if view.frozen is not None else "")
    told = [
        Span(" llmrouter ", "bar"),
        Span(f" \u25cf {link} ", _LINKS[view.link]),
        Span(f" {running} in flight", "bold" if running else "dim"),
        Span(f"  {words.count(total.answered)} done", "good"),
        Span(f"  {words.count(total.failed)} failed", "bad" if total.failed else "dim"),
        Span(f"  \u2248{words.rate(rate)}" if rate else "", "accent"),
        Span(f"  {words.cost(total.cost_usd)}" if total.cost_usd is not None else ""),
        Span(f"  {view.board.lost} lost" if view.board.lost else "", "warn"),
    ]
    url = clean(view.url)
    left = columns - line_width(told) - 2
    if left >= len(url):
        told += [Span(" " * (left - len(url) + 1)), Span(url, "dim")]
    return tuple(told)


def _bottom(view: View, columns: int) -> tuple[Line, int | None]:
    """The filter while it is typed, else what is wrong, else the keys; and the cursor's column."""
    if view.mode == "filtering":
        text, at = view.filter_line.shown(max(columns - 9, 4))
        wrong = f"  {view.filter_wrong}" if view.filter_wrong else ""
        return (Span("filter: ", "accent"), Span(text), Span(wrong, "bad")), 8 + at
    if view.link in ("away", "refused"):
        return (Span(f" {clean(view.why)}", "bad"),), None
    if view.over:
        return (Span(" Esc back  j k PgUp PgDn scroll  ? help  q quit", "dim"),), None
    if view.mode == "chatting":
        return (Span(" Enter send  Esc leave  :model NAME", "dim"),), None
    stop = "Esc stop  " if view.pane == "chat" and view.chat.busy else ""
    text = f" {_HINTS[view.pane]}  {stop}Tab pane  z zoom  ? help  q quit"
    return (Span(text, "dim"),), None


# --- the panes ------------------------------------------------------------------------------------


def _over(view: View, rows: int, columns: int) -> list[Line]:
    if view.over == "guide":
        title, lines = "Keys", guide.lines()
    else:
        number = view.shown.id if view.shown is not None else 0
        title, lines = f"Request #{number}", _detail(view, columns)
    return [_title(title, "", columns, chosen=True), *_scrolled(view, view.over, lines, rows - 1)]


def _detail(view: View, columns: int) -> list[Line]:
    """Its lines, made anew only when they would be others: words may be long."""
    shown = view.shown
    if shown is None:
        return []
    second = 0 if shown.ended else view.now_ms // 1000
    told = (shown.phase, shown.pieces, len(shown.tries), view.words is None, view.words_missing)
    key = (id(shown), id(view.words), columns, second, told)
    if view.detail_key != key:
        view.detail_key, view.detail_lines = key, detail.lines(view, columns)
    return view.detail_lines


def _all(view: View, rows: int, columns: int) -> tuple[list[Line], tuple[int, int] | None]:
    """The feed above, figures and providers below left, the chat below right."""
    upper = max(rows // 2, 5)
    lower = rows - upper
    left = min(max(columns * 9 // 20, 39), 64)
    above, _ = _pane(view, "feed", upper, columns)
    right, cursor = _pane(view, "chat", lower, columns - left - 1)
    body = list(above)
    for one, other in zip(_left(view, lower, left), right, strict=True):
        divider = Span("\u252c" if len(body) == upper else "\u2502", "dim")
        body.append((*fit_line(one, left), divider, *fit_line(other, columns - left - 1)))
    if cursor is not None:
        cursor = (cursor[0] + upper, cursor[1] + left + 1)
    return body, cursor


def _left(view: View, rows: int, columns: int) -> list[Line]:
    if rows < _BOTH_LEFT:
        return _pane(view, view.left, rows, columns)[0]
    upper = rows - max(min(3 * len(view.providers) + 1, rows // 2), 4)
    above, _ = _pane(view, "figures", upper, columns)
    below, _ = _pane(view, "providers", rows - upper, columns)
    return above + below


def _pane(
    view: View, pane: Pane, rows: int, columns: int
) -> tuple[list[Line], tuple[int, int] | None]:
    """A pane with its title in exactly so many rows; and where its cursor is."""
    title = _title(_TITLES[pane], _beside(view, pane), columns, chosen=view.pane == pane)
    inner, cursor = rows - 1, None
    lines: list[Line] = []
    match pane:
        case "feed":
            lines = feed.lines(view, columns, inner)
        case "figures":
            lines = _scrolled(view, pane, figures.lines(view, columns - 1), inner)
        case "providers":
            lines = _scrolled(view, pane, providers.lines(view, columns - 1), inner)
        case "chat":
            lines = _filled(talk.lines(view, columns, inner - 1), inner - 1)
            line, cursor = _typed(view, inner, columns)
            lines.append(line)
    return [title, *_filled(lines, inner)], cursor


def _beside(view: View, pane: Pane) -> str:
    """What stands in the title behind the name."""
    if pane == "feed" and view.filter_line.text:
        return f"filter: {clean(view.filter_line.text)}"
    if pane == "chat":
        return clean(view.chat.asked_for)
    if pane in ("figures", "providers") and view.providers:
        ill = sum(1 for each in view.providers if not each.get("healthy", True))
        return f"{ill} provider{'s' if ill > 1 else ''} out" if ill else ""
    return ""


def _typed(view: View, row: int, columns: int) -> tuple[Line, tuple[int, int] | None]:
    """The line in which one writes to the chat."""
    is_open = view.mode == "chatting"
    text, at = view.line.shown(max(columns - len(_PROMPT) - 1, 2))
    style = "accent" if is_open else "dim"
    cursor = (row, len(_PROMPT) + at) if is_open else None
    return (Span(_PROMPT, style), Span(text, "" if is_open else "dim")), cursor


def _title(name: str, beside: str, columns: int, *, chosen: bool) -> Line:
    out = [Span("\u2500", "dim"), Span(f" {name} ", "title" if chosen else "bold")]
    if beside:
        out += [Span("\u2500 ", "dim"), Span(f"{beside} ", "accent")]
    out.append(Span("\u2500" * max(columns - line_width(out), 0), "dim"))
    return tuple(out)


def _scrolled(view: View, name: str, lines: list[Line], rows: int) -> list[Line]:
    """The part that is scrolled to; the last line says that there is more."""
    top = min(view.scroll.get(name, 0), max(len(lines) - rows, 0))
    view.scroll[name] = top
    shown = lines[top : top + rows]
    more = len(lines) - top - rows
    if more > 0 and shown:
        shown = [*shown[:-1], (Span(f"\u2193 {more + 1} more", "dim"),)]
    return _filled(shown, rows)


def _filled(lines: list[Line], rows: int) -> list[Line]:
    return [*lines[:rows], *([()] * (rows - len(lines)))]
