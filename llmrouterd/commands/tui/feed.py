"""The pane of requests: one row each, where it stands.

Owns: which columns there are in how much room, a row's words.
Refuses to know: which rows there are, where the pane is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.commands import words
from llmrouterd.commands.terminal import Line, Span, clean, fit, fit_line, fit_right

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmrouterd.commands.board import Asked
    from llmrouterd.commands.tui.state import View

PHASE = {
    "started": "started",
    "classified": "classified",
    "routed": "waiting",
    "streaming": "streaming",
}
_MOST_PLACE = 46


class Column(NamedTuple):
    """wide: its columns; from_: the least width of the pane at which it is there."""

    title: str
    wide: int
    from_: int
    cell: Callable[[Asked, int], str]
    style: str = ""
    right: bool = True


def _state(asked: Asked, now_ms: int) -> str:
    if asked.ended:
        return words.how(asked)
    if asked.phase == "queued":
        return "queued" if asked.position is None else f"queued {asked.position}"
    return PHASE[asked.phase]


def _place(asked: Asked, *, tags: bool) -> str:
    """Who has it, with which model; behind it what was asked for, if that is another one; the tags,
    where they have no column of their own. Of one that went nowhere: why."""
    if not asked.provider:
        words_ = (clean(asked.model), words.reason(asked))
        return "  ".join(each for each in words_ if each) or words.NONE
    place = words.place(asked.provider, asked.sent)
    if asked.model not in ("", asked.sent):
        place = f"{place} \u2190 {clean(asked.model)}"
    told = _tags(asked, 0) if tags else ""
    return f"{place}  {told}" if told else place


def _tokens(asked: Asked, now_ms: int) -> str:
    if asked.ended:
        return words.tokens(asked)
    return f"\u2248{words.count(asked.pieces)}" if asked.pieces else ""


def _rate(asked: Asked, now_ms: int) -> str:
    return words.rate(asked.tokens_per_s if asked.ended else asked.rate)


def _ttft(asked: Asked, now_ms: int) -> str:
    return words.duration(asked.ttft_ms)


def _took(asked: Asked, now_ms: int) -> str:
    return words.duration(asked.duration_ms if asked.ended else now_ms - asked.begun_ms)


def _cost(asked: Asked, now_ms: int) -> str:
    return words.cost(asked.cost_usd) if asked.ended else ""


def _tags(asked: Asked, now_ms: int) -> str:
    told = asked.end.get("response_tags")
    return clean(",".join((*asked.tags, *(told if isinstance(told, list) else ()))))


def _id(asked: Asked, now_ms: int) -> str:
    return f"#{asked.id}"


def _clock(asked: Asked, now_ms: int) -> str:
    return words.clock(asked.begun_ms)


def _tries(asked: Asked, now_ms: int) -> str:
    told = asked.end.get("attempts")
    count = max(len(asked.tries), len(told) if isinstance(told, list) else 0)
    return str(count) if count else ""


_BEFORE = (
    Column("time", 8, 52, _clock, "dim", right=False),
    Column("id", 6, 104, _id, "dim"),
)
_AFTER = (
    Column("state", 11, 0, _state, "state", right=False),
    Column("tried", 5, 112, _tries, "warn"),
    Column("tokens", 11, 64, _tokens),
    Column("ttft", 6, 92, _ttft),
    Column("rate", 7, 76, _rate),
    Column("took", 6, 0, _took),
    Column("cost", 8, 100, _cost),
)


def lines(view: View, columns: int, rows: int) -> list[Line]:
    """The titles and as many rows as fit, the selected one among them."""
    asked = view.rows()
    if not asked:
        return _nothing(view, columns)
    visible = max(rows - 1, 1)
    at = view.place(asked)
    top = min(max(view.scroll.get("feed", 0), at - visible + 1), at)
    top = max(0, min(top, len(asked) - visible))
    view.scroll["feed"] = top
    shown = _shown(columns)
    has_keys = view.pane == "feed" and view.mode != "chatting"
    out = [_titles(shown, columns)]
    for number, each in enumerate(asked[top : top + visible], top):
        row = _row(each, shown, columns, view.now_ms)
        out.append(fit_line(row, columns, "chosen") if has_keys and number == at else row)
    return out


def _nothing(view: View, columns: int) -> list[Line]:
    if view.filter.words and (view.board.running or view.board.ended):
        return [(Span("nothing that the filter lets through", "dim"),)]
    if view.link == "live":
        return [(Span("no request yet: what comes in is shown here", "dim"),)]
    return [(Span(clean(view.why), "bad"),)] if view.why else [(Span("connecting", "dim"),)]


def _shown(columns: int) -> Sequence[Column | None]:
    """The columns that are there; None stands for the place, which takes what is left."""
    before = [each for each in _BEFORE if columns >= each.from_]
    after = [each for each in _AFTER if columns >= each.from_]
    left = columns - 2 - sum(each.wide + 1 for each in (*before, *after))
    tags = max(left - _MOST_PLACE - 1, 12)
    if left - tags - 1 >= 30:
        after.append(Column("tags", tags, 0, _tags, "tag", right=False))
    return (*before, None, *after)


def _place_wide(shown: Sequence[Column | None], columns: int) -> int:
    return max(columns - 2 - sum(each.wide + 1 for each in shown if each is not None), 1)


def _titles(shown: Sequence[Column | None], columns: int) -> Line:
    cells = [
        fit("provider/model", _place_wide(shown, columns))
        if each is None
        else (fit_right if each.right else fit)(each.title, each.wide)
        for each in shown
    ]
    return (Span(fit("  " + " ".join(cells), columns), "head"),)


def _row(asked: Asked, shown: Sequence[Column | None], columns: int, now_ms: int) -> Line:
    style = words.style(asked)
    has_tags = any(each is not None and each.cell is _tags for each in shown)
    out = [Span("\u25cf" if not asked.ended else "\u2717" if asked.failed else "\u2713", style)]
    for each in shown:
        if each is None:
            text, own = _place(asked, tags=not has_tags), "" if asked.ended else "bold"
            text = fit(text, _place_wide(shown, columns))
        else:
            text = (fit_right if each.right else fit)(each.cell(asked, now_ms), each.wide)
            own = style if each.style == "state" else each.style
        out += [Span(" "), Span(text, own)]
    return fit_line(out, columns)
