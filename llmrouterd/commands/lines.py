"""The lines that `watch` prints.

Owns: one event and the request, or the provider, that it tells of, as a few aligned lines.
Refuses to know: where they go, whether in colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.commands import words
from llmrouterd.commands.board import text, whole
from llmrouterd.commands.terminal import Line, Span, clean, cut, cut_line, fit, fit_right, width

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmrouterd.commands.board import Asked

JSON = Any

WIDE = 122  # columns from which the figures stand in the same line
_PLACE = 26
_STAGE = 11
_INDENT = 8 + 1 + 6 + 2


def lines(kind: str, asked: Asked, columns: int, *, brief: bool = False) -> Iterator[Line]:
    """What an event of that type adds. brief: only what there is to say at the end."""
    if kind == "complete":
        for line in _ended(asked, columns, brief=brief):
            yield cut_line(line, columns)
        return
    if brief:
        return
    match kind:
        case "start":
            yield _line(asked.begun_ms, asked, "start", "dim", clean(asked.model), columns)
        case "classified" if asked.tags:
            tags = clean(", ".join(asked.tags))
            yield _line(asked.since_ms, asked, "classified", "tag", tags, columns)
        case "routed":
            place = words.place(asked.provider, asked.sent)
            yield _line(asked.since_ms, asked, "routed", "accent", place, columns)
        case "queued":
            yield _line(asked.since_ms, asked, "queued", "warn", _queue(asked), columns)
        case "first_token":
            text = f"first token after {words.duration(asked.ttft_ms)}"
            yield _line(asked.since_ms, asked, "streaming", "", text, columns)
        case "attempt_failed":
            yield _try(asked, -1, columns)
        case _:
            pass


def standing(event: Mapping[str, JSON], columns: int) -> Line:
    """How a provider does from now on."""
    word, style = words.standing(event)
    why = clean(text(event, "why"))
    name = clean(text(event, "provider"), limit=60)
    told = f"{name}  {word}" + (f": {why}" if why and style == "bad" else "")
    return (
        Span(words.clock(whole(event, "ts_ms") or 0), "dim"),
        Span(" " * (_INDENT - 8)),
        Span(fit("provider", _STAGE), "bold"),
        Span(cut(told, max(columns - _INDENT - _STAGE, 20)), style),
    )


def _queue(asked: Asked) -> str:
    text = words.place(asked.provider, asked.sent)
    text += f", number {asked.position}" if asked.position is not None else ""
    about = words.duration(asked.estimate_ms)
    return text + (f", about {about}" if asked.estimate_ms is not None else "")


def _line(ts_ms: int, asked: Asked, stage: str, style: str, text: str, columns: int) -> Line:
    return (
        *_head(ts_ms, asked),
        Span(fit(stage, _STAGE), style),
        Span(cut(text, max(columns - _INDENT - _STAGE, 20)), "dim" if style == "dim" else ""),
    )


def _head(ts_ms: int, asked: Asked) -> Line:
    return Span(words.clock(ts_ms), "dim"), Span(f" {fit_right(f'#{asked.id}', 6)}  ", "bold")


def _try(asked: Asked, which: int, columns: int) -> Line:
    failed = asked.tries[which]
    place = words.place(failed.provider, failed.model)
    why = f"{clean(failed.kind, limit=60)}: {clean(failed.error)}"
    text = f"{place}  {why}  {words.duration(failed.duration_ms)}"
    return _line(failed.ts_ms, asked, "try failed", "warn", text, columns)


def _ended(asked: Asked, columns: int, *, brief: bool) -> Iterator[Line]:
    if brief:
        for which in range(len(asked.tries)):
            yield _try(asked, which, columns)
    status = asked.end.get("status")
    seen = f"{status:>3}" if isinstance(status, int) and status else "   "
    head = (
        *_head(asked.since_ms, asked),
        Span(fit(words.how(asked), _STAGE), words.style(asked)),
        Span(f"{seen}  "),
    )
    place = _went(asked)
    if columns >= WIDE:
        place = cut(place, columns - WIDE + _PLACE)
        yield (*head, Span(fit(place, max(_PLACE, width(place)))), *_aligned(asked), *_tags(asked))
    else:
        yield (*head, Span(cut(place, max(columns - _INDENT - _STAGE - 5, 20))), *_tags(asked))
        yield (Span(" " * _INDENT), *_joined(asked))
    why = words.reason(asked)
    if why:
        yield (
            Span(" " * _INDENT),
            Span(cut(why, max(columns - _INDENT, 40)), "bad" if asked.failed else "warn"),
        )


def _went(asked: Asked) -> str:
    """What was asked for, where another model served it; and who did."""
    place = words.place(asked.provider, asked.sent)
    if asked.model and asked.model != asked.sent:
        return f"{clean(asked.model)} \u2192 {place}"
    return place


def _cells(asked: Asked) -> list[tuple[str, int]]:
    """The figures, each with the columns it has in a table."""
    ttft, rate = words.duration(asked.ttft_ms), words.rate(asked.tokens_per_s)
    return [
        (f"{words.tokens(asked)} tok", 15),
        (f"ttft {ttft}" if ttft != words.NONE else words.NONE, 11),
        (rate.replace("/s", " tok/s"), 11),
        (words.duration(asked.duration_ms), 7),
        (words.cost(asked.cost_usd), 9),
    ]


def _aligned(asked: Asked) -> Line:
    return tuple(Span("  " + fit_right(text, wide)) for text, wide in _cells(asked))


def _joined(asked: Asked) -> Line:
    told = [text for text, _ in _cells(asked) if not text.startswith(words.NONE)]
    return (Span(" \u00b7 ".join(told), "dim"),)


def _tags(asked: Asked) -> Line:
    tags = (*asked.tags, *_response_tags(asked))
    return (Span("  " + clean(",".join(tags)), "tag"),) if tags else ()


def _response_tags(asked: Asked) -> tuple[str, ...]:
    told = asked.end.get("response_tags")
    return tuple(told) if isinstance(told, list) else ()
