"""The pane of the chat.

Owns: how what was said is set in lines.
Refuses to know: what is said, the line that is being typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.commands.terminal import Line, Span, clean, clean_lines, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrouterd.commands.tui.chat import Said
    from llmrouterd.commands.tui.state import View

_LIMIT = 200_000
_STYLE = {"user": "accent", "assistant": "", "note": "dim", "error": "bad"}
_MARK = {"user": "\u25b8 ", "assistant": "  ", "note": "\u00b7 ", "error": "\u2717 "}


def lines(view: View, columns: int, rows: int) -> list[Line]:
    """The last lines that fit, or earlier ones as far as it was scrolled back."""
    wanted = rows + view.scroll.get("chat", 0)
    blocks: list[list[Line]] = []
    count = 0
    for said in reversed(view.chat.said):  # no more than is needed is set in lines
        blocks.append(list(_block(said, columns, busy=said is view.chat.answer)))
        count += len(blocks[-1])
        if count >= wanted:
            break
    every = [line for block in reversed(blocks) for line in block]
    if not every:
        return _nothing(view, columns)
    back = min(view.scroll.get("chat", 0), max(len(every) - rows, 0))
    view.scroll["chat"] = back
    end = len(every) - back
    return every[max(end - rows, 0) : end]


def _nothing(view: View, columns: int) -> list[Line]:
    model = clean(view.chat.asked_for)
    told = (f"i  write to {model}", ":model NAME  write to another one")
    return [(Span(line, "dim"),) for each in told for line in wrap(each, columns)]


def _block(said: Said, columns: int, *, busy: bool) -> Iterator[Line]:
    mark, style = _MARK[said.who], _STYLE[said.who]
    if said.thought:
        for line in _set(said.thought, columns - 2):
            yield (Span("\u2502 ", "dim"), Span(line, "dim"))
    if said.text or not said.thought:
        for line in _set(said.text, columns - 2):
            yield (Span(mark, style), Span(line, style))
            mark = "  "
    if busy:
        yield (Span("  \u2026", "dim"),)
    elif said.about:
        for line in wrap(clean(said.about), columns - 2):
            yield (Span("  "), Span(line, "dim"))


def _set(text: str, columns: int) -> Iterator[str]:
    for line in clean_lines(text.rstrip("\n"), limit=_LIMIT):
        yield from wrap(line, columns)
