"""One request on the whole screen: where it went and why, what was said, what it cost.

Owns: the order of its sections and their words.
Refuses to know: how the words are asked for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmrouterd.commands import words
from llmrouterd.commands.board import Asked, text, texts, whole
from llmrouterd.commands.terminal import Line, Span, clean, clean_lines, cut_line, fit, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmrouterd.commands.tui.state import View

JSON = Any
_NAME = 11
_MESSAGES = 200  # the last ones; a whole conversation may be longer than anybody scrolls
_TEXT = 20_000
_ARGUMENTS = 4000
# what a wait for the first token went into, as far as it is known
_WAITS = (
    ("in the queue", "queue_ms"),
    ("to connect", "connect_ms"),
    ("to load the model", "load_ms"),
    ("to read the prompt", "prefill_ms"),
)
_BAR = 30
_STEPS = {"skipped": "warn", "candidate": "good", "passed": "dim"}


def lines(view: View, columns: int) -> list[Line]:
    asked = view.shown
    if asked is None:
        return []
    wide = max(columns, 20)
    told = (*_facts(asked, view.now_ms, wide), *_walk(asked, wide), *_said(view, wide))
    return [cut_line(line, wide) for line in told]


def _facts(asked: Asked, now_ms: int, columns: int) -> Iterator[Line]:
    end = asked.end
    state = words.how(asked) if asked.ended else asked.phase
    status = end.get("status")
    took = words.duration(asked.duration_ms if asked.ended else now_ms - asked.begun_ms)
    yield (
        Span(fit(f"#{asked.id}", _NAME), "bold"),
        Span(f"{state}{f' {status}' if status else ''}", words.style(asked)),
        Span(f"  {words.clock(asked.begun_ms)}  {took}"),
    )
    asked_for = f"{clean(asked.model) or words.NONE}  {clean(text(end, 'endpoint'))}"
    yield from _fact("asked for", asked_for + ("  stream" if end.get("stream") else ""), columns)
    client = ", ".join(filter(None, (text(end, "client"), text(end, "client_format"))))
    yield from _fact("by", clean(client), columns)
    went = words.place(asked.provider, asked.sent) if asked.provider else ""
    yield from _fact("went to", f"{went}  {clean(text(end, 'address'))}".strip(), columns)
    yield from _fact("because of", clean(text(end, "rule")), columns)
    yield from _fact("tags", clean(", ".join((*asked.tags, *texts(end, "response_tags")))), columns)
    yield from _fact("plugins", clean(", ".join(texts(end, "plugins"))), columns)
    yield from _fact("tokens", _tokens(asked), columns)
    yield from _fact("cost", words.cost(asked.cost_usd) if asked.ended else "", columns)
    yield from _fact("error", words.reason(asked), columns, "bad")
    yield from _fact("lost", clean(", ".join(texts(end, "dropped"))), columns, "warn")
    yield from _fact("notes", clean("; ".join(texts(end, "notes"))), columns)
    yield from _fact("request id", clean(text(end, "request_id")), columns, "dim")
    yield from _fact("its id", clean(text(end, "upstream_request_id")), columns, "dim")
    yield from _time_line(asked, columns)


def _fact(name: str, value: str, columns: int, style: str = "") -> Iterator[Line]:
    if not value or value == words.NONE:
        return
    for line in wrap(value, columns - _NAME):
        yield (Span(fit(name, _NAME), "dim"), Span(line, style))
        name = ""


def _tokens(asked: Asked) -> str:
    if not asked.ended:
        return f"\u2248{asked.pieces} so far, {words.rate(asked.rate)}" if asked.pieces else ""
    cached = asked.end.get("cached_tokens")
    rate = asked.tokens_per_s
    told = words.tokens(asked) + (f", {cached} of them cached" if cached else "")
    return told + (f", {words.rate(rate)}" if rate is not None else "")


def _time_line(asked: Asked, columns: int) -> Iterator[Line]:
    """The wait for the first token, and the writing, as lengths."""
    took_ms, ttft_ms = asked.duration_ms, asked.ttft_ms
    if not took_ms or ttft_ms is None or not asked.ended:
        return
    bar = min(_BAR, max(columns - 50, 8))
    waiting = min(round(bar * ttft_ms / took_ms), bar)
    yield (
        Span(fit("time", _NAME), "dim"),
        Span("\u2591" * waiting, "warn"),
        Span("\u2588" * (bar - waiting), "good"),
        Span(f" {words.duration(ttft_ms)} to the first token", "warn"),
        Span(f", {words.duration(max(took_ms - ttft_ms, 0))} writing", "good"),
    )
    of_it = [
        f"{words.duration(spent)} {name}"
        for name, member in _WAITS
        if (spent := whole(asked.end, member))
    ]
    if of_it:
        yield (Span(" " * _NAME), Span(f"of the wait: {', '.join(of_it)}", "dim"))


# --- the walk -------------------------------------------------------------------------------------


def _walk(asked: Asked, columns: int) -> Iterator[Line]:
    trace = texts(asked.end, "trace")
    if trace:
        yield from _section("the walk")
        for step in trace:
            style = next((s for word, s in _STEPS.items() if f": {word}" in step), "")
            yield from _wrapped(clean(step), columns, style)
    tries = [_try(each, asked) for each in asked.tries] or list(texts(asked.end, "attempts"))
    if tries:
        yield from _section("failed tries")
        for each in tries:
            yield from _wrapped(clean(each), columns, "warn")


def _try(failed: Any, asked: Asked) -> str:
    after = words.duration(failed.ts_ms - asked.begun_ms)
    place = words.place(failed.provider, failed.model)
    took = words.duration(failed.duration_ms)
    return f"{place}: {failed.kind}: {failed.error} (took {took}, over {after} after the beginning)"


def _section(title: str) -> Iterator[Line]:
    yield ()
    yield (Span(title, "head"),)


def _wrapped(line: str, columns: int, style: str = "") -> Iterator[Line]:
    for piece in wrap(line, columns - 2):
        yield (Span("  "), Span(piece, style))


# --- what was said --------------------------------------------------------------------------------


def _said(view: View, columns: int) -> Iterator[Line]:
    asked, said = view.shown, view.words
    if said is None:
        if asked is not None and not asked.ended:
            yield from _section("the words come when it has ended")
        else:
            yield from _section(view.words_missing or "the words are being asked for")
        return
    system = said.get("system")
    if isinstance(system, str) and system:
        yield from _section("system")
        yield from _text(system, columns)
    messages = said.get("messages")
    messages = messages if isinstance(messages, list) else []
    if len(messages) > _MESSAGES:
        yield from _section(f"{len(messages) - _MESSAGES} earlier messages are not shown")
    for message in messages[-_MESSAGES:]:
        if isinstance(message, dict):
            yield from _section(clean(text(message, "role")))
            yield from _content(message.get("content"), columns)
    response = said.get("response")
    if isinstance(response, dict):
        yield from _response(response, columns)


def _content(content: JSON, columns: int) -> Iterator[Line]:
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        match part.get("type"):
            case "text":
                yield from _text(part.get("text"), columns)
            case "tool_use":
                yield from _call(part, columns)
            case "tool_result":
                yield from _wrapped(f"result of {clean(part.get('tool_use_id'))}", columns, "tag")
                yield from _text(part.get("content"), columns)
            case "image":
                size = len(part.get("data") or "") * 3 // 4
                kind = clean(part.get("media_type"))
                yield from _wrapped(f"picture, {kind}, {words.count(size)} bytes", columns, "tag")
            case _:
                yield from _wrapped(clean(part.get("type")), columns, "dim")


def _response(response: Mapping[str, JSON], columns: int) -> Iterator[Line]:
    stop = clean(text(response, "stop_reason"))
    model = clean(text(response, "model"))
    yield from _section(f"answer of {model}, {stop}" if model else f"answer, {stop}")
    for line in clean_lines(response.get("reasoning"), limit=_TEXT):
        if line:
            yield from _wrapped(line, columns, "dim")
    yield from _text(response.get("content"), columns)
    calls = response.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            yield from _call(call, columns)


def _call(call: Mapping[str, JSON], columns: int) -> Iterator[Line]:
    name, id_ = clean(text(call, "name")), clean(text(call, "id"))
    yield from _wrapped(f"calls {name} ({id_})", columns, "tag")
    arguments = json.dumps(call.get("input"), ensure_ascii=False)
    yield from _wrapped(clean(arguments, limit=_ARGUMENTS), columns)


def _text(value: JSON, columns: int) -> Iterator[Line]:
    if not isinstance(value, str) or not value:
        return
    for line in clean_lines(value.rstrip("\n"), limit=_TEXT):
        yield from _wrapped(line, columns)
