"""The pane of statistics: in all, by provider, by tag.

Owns: which figures there are in how much room.
Refuses to know: how they are counted (commands/figures.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.commands import words
from llmrouterd.commands.figures import Tally, mean, percentile
from llmrouterd.commands.terminal import Line, Span, clean, fit, fit_right, line_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llmrouterd.commands.tui.state import View


class Column(NamedTuple):
    """from_: the least width of the pane at which it is there."""

    title: str
    wide: int
    from_: int
    cell: Callable[[Tally], str]


_COLUMNS = (
    Column("req", 5, 0, lambda t: words.count(t.requests)),
    Column("fail", 4, 0, lambda t: words.count(t.failed)),
    Column("mean", 6, 0, lambda t: words.duration(mean(t.took_ms))),
    Column("p95", 6, 40, lambda t: words.duration(percentile(t.took_ms, 0.95))),
    Column("tok", 6, 48, lambda t: words.count(t.output_tokens)),
    Column("rate", 7, 56, lambda t: words.rate(mean(t.rates))),
    Column("cost", 8, 66, lambda t: words.cost(t.cost_usd)),
    Column(
        "last ok",
        8,
        33,
        lambda t: words.NONE if t.last_ok_ms is None else words.clock(t.last_ok_ms),
    ),
)


def lines(view: View, columns: int) -> list[Line]:
    figures = view.board.figures
    out = _total(figures.total, columns)
    out += [(), *_table("provider", figures.by_provider, columns)]
    if figures.by_tag:
        out += [(), *_table("tag", figures.by_tag, columns)]
    return out


def _total(tally: Tally, columns: int) -> list[Line]:
    left = tally.requests - tally.answered - tally.failed
    out: list[Line] = [
        (
            Span(f"{'requests':10}", "dim"),
            Span(f"{words.count(tally.requests)} "),
            Span(f"{words.count(tally.answered)} done ", "good"),
            Span(f"{words.count(tally.failed)} failed ", "bad" if tally.failed else "dim"),
            Span(f"{words.count(left)} left" if left else ""),
        ),
        _spread("latency", tally.took_ms, columns),
        _spread("1st token", tally.ttft_ms, columns),
        (
            Span(f"{'tokens':10}", "dim"),
            Span(f"{words.count(tally.input_tokens)} in {words.count(tally.output_tokens)} out"),
        ),
        (
            Span(f"{'cost':10}", "dim"),
            Span(words.cost(tally.cost_usd)),
            Span("   rate ", "dim"),
            Span(words.rate(mean(tally.rates))),
        ),
    ]
    if tally.failed_tries:
        text = f"{words.count(tally.failed_tries)} failed tries"
        out.append((Span(f"{'':10}"), Span(text, "warn")))
    return out


def _spread(name: str, samples: Iterable[float], columns: int) -> Line:
    """Mean and percentiles, as many as there is room for."""
    values = list(samples)
    told = [("mean", mean(values))]
    told += [(f"p{share}", percentile(values, share / 100)) for share in (50, 95, 99)]
    out = [Span(f"{name:10}", "dim")]
    for title, value in told:
        cell = [Span(f"{title} ", "dim"), Span(f"{words.duration(value)} ")]
        if line_width(out) + line_width(cell) > columns + 1:
            break
        out += cell
    return tuple(out)


def _table(name: str, tallies: Mapping[str, Tally], columns: int) -> list[Line]:
    shown = [each for each in _COLUMNS if columns >= each.from_]
    wide = max(columns - sum(each.wide + 1 for each in shown), 6)
    titles = fit(f"by {name}", wide) + "".join(" " + fit_right(c.title, c.wide) for c in shown)
    out: list[Line] = [(Span(titles, "head"),)]
    for key, tally in sorted(tallies.items(), key=lambda item: -item[1].requests):
        cells = [" " + fit_right(each.cell(tally), each.wide) for each in shown]
        out.append((Span(fit(clean(key), wide), "accent"), Span("".join(cells))))
    if not tallies:
        out.append((Span("nothing yet", "dim"),))
    return out
