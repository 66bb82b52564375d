"""The plugin `tool-repair`: a tool call that a model wrote as text becomes a call.

Owns: finding such text in an answer as it passes, holding back what may be one, and the events of
the call in its place.
Refuses to know: how models write them (written_calls.py), formats, tools of other requests.

Laws:
1. Only a declared tool is called, with arguments that fit its schema; else the text goes out as it came.
2. Never in silence: each repair is a note of the log line, and the plugin stands in it.
3. What is held back is bounded. Text that cannot be a call any more goes on at once.
4. An answer that failed, or was cut off, is left as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from formats.canonical import (
    CUT_SHORT,
    Failed,
    Finished,
    PartEnded,
    TextDelta,
    ToolDelta,
    ToolStarted,
)
from llmrouterd.hooks import Plugin
from llmrouterd.plugins.written_calls import MARK, MARKS, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from formats.canonical import JSON, Event, Request
    from llmrouterd.hooks import Context

_MOST_HELD = 1 << 18  # characters of one answer
_BLANK = 1000  # so many at its beginning say nothing
_LONGEST_MARK = max(map(len, MARKS))
# How a part begins that may be nothing but a call, and what may yet become such a beginning.
_ALONE = re.compile(r'\s*(?:\{\s*"|\[\s*\{|```)')
_UNDECIDED = re.compile(r"\s*(?:\{\s*|\[\s*|`{0,2})\Z")


@dataclass(slots=True)
class _Stream:
    """One answer on its way. held: text that may be a call, by its part, from where it began; the
    parts that have ended wait for the end of the answer, with all that came after them."""

    tools: Mapping[str, JSON]
    held: dict[int, list[str]] = field(default_factory=dict)
    pending: dict[int, str] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)  # some text of it has gone out
    waiting: list[Event] = field(default_factory=list)
    last: int = -1  # the greatest number of a part so far
    size: int = 0
    gave_up: bool = False


class ToolRepair(Plugin):
    id = "tool-repair"
    delays = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """There is nothing to set."""

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        choice = request.tool_choice
        if choice is None or choice.mode != "none":
            named = choice.names if choice is not None else ()
            ctx.state = {
                tool.name: dict(tool.parameters) if tool.parameters is not None else {}
                for tool in request.tools
                if tool.kind == "function" and (not named or tool.name in named)
            }
        return request

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        if not ctx.state:
            return (event,)
        if ctx.stream is None:
            ctx.stream = _Stream(ctx.state)
        return _passed(event, ctx.stream, ctx)


def _passed(event: Event, stream: _Stream, ctx: Context) -> Iterable[Event]:
    stream.last = max(stream.last, getattr(event, "part", -1))
    if isinstance(event, Failed):
        return (*_released(stream), event)
    if isinstance(event, Finished):
        if event.reason in CUT_SHORT or stream.gave_up:
            return (*_released(stream), event)
        return _ended(event, stream, ctx)
    if stream.gave_up:
        return (event,)
    if stream.waiting:
        return _waits(event, stream)
    if isinstance(event, TextDelta):
        return _text(event, stream)
    if isinstance(event, PartEnded):
        return _part_ended(event, stream)
    return (event,)


# --- text -----------------------------------------------------------------------------------------


def _text(event: TextDelta, stream: _Stream) -> Iterable[Event]:
    """What can be no part of a call goes on, the rest is held back."""
    part = event.part
    if part in stream.held:
        stream.held[part].append(event.text)
        return _grown(stream, len(event.text))
    text = stream.pending.pop(part, "") + event.text
    at, begun = _cut(text, fresh=part not in stream.begun)
    said = _said(stream, part, text[:at])
    if begun:
        stream.held[part] = [text[at:]]
        return (*said, *_grown(stream, len(text) - at))
    if text[at:]:
        stream.pending[part] = text[at:]
    return said


def _cut(text: str, *, fresh: bool) -> tuple[int, bool]:
    """From where on a text must wait, and whether what may be a call has begun there: else a few more
    characters will tell. fresh: it is the beginning of its part."""
    if fresh and len(text) <= _BLANK and _UNDECIDED.match(text):
        return 0, False
    if fresh and _ALONE.match(text):
        return 0, True
    mark = MARK.search(text)
    if mark is not None:
        return mark.start(), True
    return len(text) - _begun_mark(text), False


def _begun_mark(text: str) -> int:
    """How many of the last characters may be the beginning of a mark."""
    for length in range(min(_LONGEST_MARK - 1, len(text)), 0, -1):
        if any(mark.startswith(text[-length:]) for mark in MARKS):
            return length
    return 0


def _said(stream: _Stream, part: int, text: str) -> tuple[Event, ...]:
    if not text:
        return ()
    stream.begun.add(part)
    return (TextDelta(part, text),)


def _grown(stream: _Stream, size: int) -> Iterable[Event]:
    stream.size += size
    if stream.size <= _MOST_HELD:
        return ()
    stream.gave_up = True
    return _released(stream)


# --- ends -----------------------------------------------------------------------------------------


def _part_ended(event: PartEnded, stream: _Stream) -> Iterable[Event]:
    part = event.part
    if part in stream.held:
        stream.waiting.append(event)
        return ()
    return (*_said(stream, part, stream.pending.pop(part, "")), event)


def _waits(event: Event, stream: _Stream) -> Iterable[Event]:
    """Behind a part that may be a call: only at the end it is known whether it is one."""
    stream.waiting.append(event)
    return _grown(stream, _weight(event))


def _weight(event: Event) -> int:
    text = getattr(event, "text", None) or getattr(event, "fragment", None) or ""
    return 64 + len(text)


def _released(stream: _Stream) -> list[Event]:
    """All that is held, as it came."""
    texts = {**stream.pending, **{part: "".join(held) for part, held in stream.held.items()}}
    stream.pending, stream.held = {}, {}
    waiting, stream.waiting = stream.waiting, []
    out: list[Event] = []
    for part in [part for part in texts if PartEnded(part) not in waiting]:
        out += _said(stream, part, texts.pop(part))
    for event in waiting:
        if isinstance(event, PartEnded):
            out += _said(stream, event.part, texts.pop(event.part, ""))
        out.append(event)
    return out


def _ended(event: Finished, stream: _Stream, ctx: Context) -> Iterable[Event]:
    """The answer is whole: what was held is a call, or it is not."""
    found = {part: read("".join(held), stream.tools) for part, held in stream.held.items()}
    calls = [call for each in found.values() if each is not None for call in each[1]]
    if not calls:
        return (*_released(stream), event)
    for part, each in found.items():
        if each is not None:  # the words beside the calls
            stream.held[part] = [each[0]]
    out = [each for each in _released(stream) if not _ends_nothing(each, stream, found)]
    for part, call in enumerate(calls, stream.last + 1):
        out += [ToolStarted(part, "", call.name), ToolDelta(part, call.arguments), PartEnded(part)]
        ctx.notes.append("a tool call was written as text")
    ctx.modified()
    return (*out, replace(event, reason="tool_use", native=None, sequence=None))


def _ends_nothing(event: Event, stream: _Stream, found: Mapping[int, object]) -> bool:
    """The end of a part of which nothing is left."""
    if not isinstance(event, PartEnded):
        return False
    return event.part in found and event.part not in stream.begun
