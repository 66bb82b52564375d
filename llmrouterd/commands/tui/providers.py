"""The pane of providers: who is well, what they are doing, what they have in memory.

Owns: one provider's state as a few lines.
Refuses to know: how it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.commands import words
from llmrouterd.commands.board import number, text, texts, whole
from llmrouterd.commands.terminal import Line, Span, clean, cut_line, fit, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmrouterd.commands.tui.state import View

JSON = Any


def lines(view: View, columns: int) -> list[Line]:
    if not view.providers:
        return [(Span("not known: this router does not tell", "dim"),)]
    told = [line for each in view.providers for line in _provider(each, columns)]
    return [cut_line(line, columns) for line in told]


def _provider(state: Mapping[str, JSON], columns: int) -> Iterator[Line]:
    word, style = words.standing(state)
    name = clean(text(state, "name"), limit=60)
    where = "local" if state.get("local") else "remote"
    kind = f"{clean(text(state, 'format'), limit=20)}, {where}"
    yield (
        Span("\u25cf ", style),
        Span(fit(name, min(max(columns // 3, 10), 24)), "bold"),
        Span(f" {word}", style),
        Span(f"  {kind}", "dim"),
    )
    doing = ", ".join(_doing(state))
    for line in wrap(doing, columns - 2):
        yield (Span("  "), Span(line))
    loaded = texts(state, "loaded")
    if loaded:
        for line in wrap(f"in memory: {clean(', '.join(loaded))}", columns - 2):
            yield (Span("  "), Span(line, "accent"))
    for line in _trouble(state, columns):
        yield (Span("  "), Span(line, "bad" if style == "bad" else "warn"))


def _doing(state: Mapping[str, JSON]) -> Iterator[str]:
    yield f"{whole(state, 'in_flight') or 0} in flight"
    queue = state.get("queue")
    waiting = whole(queue, "waiting") if isinstance(queue, dict) else None
    if waiting is not None:
        yield f"{waiting} queued"
    models = whole(state, "models")
    if models is not None:
        yield f"{models} model{'' if models == 1 else 's'}"
    first_ms, rate = number(state, "first_token_ms"), number(state, "tokens_per_s")
    if first_ms is not None:
        yield f"first token {words.duration(first_ms)}"
    if rate is not None:
        yield words.rate(rate)
    failing = number(state, "failing")
    if failing and failing >= 0.005:
        yield f"{failing:.0%} of late failed"


def _trouble(state: Mapping[str, JSON], columns: int) -> Iterator[str]:
    why = text(state, "why")
    if why:
        yield from wrap(clean(why), columns - 2)
    out = state.get("models_out")
    for name, reason in out.items() if isinstance(out, dict) else ():
        yield from wrap(clean(f"not {name}: {reason}"), columns - 2)
