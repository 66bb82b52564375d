"""The plugin `response-healing`: JSON that a model wrapped in prose, or left unfinished, made whole.

    [plugins.response-healing]
    enabled = true
    stream = true

Owns: taking JSON out of Markdown fences and prose, removing commas before a closing bracket, and
closing what was left open; with `stream`, an answer's events with its text healed as it flows.
Refuses to know: schemas; it never makes up a member, a value or a key.

Laws:
1. An answer that is JSON already stays as it is, to the character; so does one with tool calls.
2. What was healed is used only if it parses, and only if it is an object or a list.
3. The work is bounded: an answer without JSON is read a few times, not once for every bracket.
4. With `stream` an answer is decided on from its beginning (flowing.py), whole answers and streams alike;
   from its first call on it goes on as it is.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from formats import jsontext
from formats.canonical import (
    CitationSeen,
    Event,
    Failed,
    Finished,
    OpaquePart,
    Part,
    PartEnded,
    Text,
    TextDelta,
    ToolStarted,
    ToolUse,
)
from llmrouterd.hooks import Plugin
from llmrouterd.plugins.flowing import Flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from formats.canonical import Response
    from llmrouterd.hooks import Context

_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
# A string up to its closing quote or the end of the text, a bracket, or a comma.
_TOKEN = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*+)(?P<end>"|\\?\Z)|(?P<mark>[{}\[\],])', re.DOTALL)
_CUT_ESCAPE = re.compile(r"((?<!\\)(?:\\\\)*)\\u[0-9A-Fa-f]{0,3}\Z")
_OPEN = re.compile(r"[{\[]")
_CLOSES = {"{": "}", "[": "]"}
# Prose rarely holds more brackets than these before its JSON. Each costs a pass over what follows,
# while nobody else is served: passes beyond the first end with these characters read, or so deep.
_MOST_STARTS = 8
_MOST_CHARACTERS = 1 << 18
_DEEPEST = 200


class ResponseHealing(Plugin):
    id = "response-healing"
    whole_response = True

    delays = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if not isinstance(settings.get("stream", False), bool):
            raise ValueError("stream: expected true or false")

    def waits(self, ctx: Context) -> bool:
        return not _flows(ctx)

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        if not _flows(ctx):
            return (event,)
        if ctx.stream is None:
            ctx.stream = Stream()
        stream: Stream = ctx.stream
        out = stream.turned(event)
        if stream.changed:
            ctx.modified()
        return out

    async def post_response(self, response: Response, ctx: Context) -> Response:
        if _flows(ctx) or any(isinstance(part, ToolUse) for part in response.parts):
            return response
        text = healed(response.text)
        if text is None:
            return response
        return replace(response, parts=tuple(_with_text(response.parts, text)))


def _flows(ctx: Context) -> bool:
    return ctx.settings.get("stream") is True


class Stream:
    """One answer's events, its text healed. All of its text becomes one part, the first one."""

    def __init__(self) -> None:
        self._flow: Flow | None = Flow(healed)  # None: from now on everything goes on as it is
        self._first: int | None = None
        self._texts: set[int] = set()
        self._began = False
        self.changed = False

    def turned(self, event: Event) -> Iterable[Event]:
        if self._flow is None:
            return (event,)
        match event:
            case TextDelta(part, text):
                self._texts.add(part)
                self._first = part if self._first is None else self._first
                return self._text(self._flow.feed(text))
            case PartEnded(part) if part in self._texts:
                return ()  # there may be more to say in it
            case Finished():
                return (*self._text(self._flow.end()), *self._ended(), event)
            case ToolStarted() | OpaquePart() | CitationSeen() | Failed():
                held = self._text(self._flow.release())
                self._flow = None
                return (*held, *self._ended(), event)
            case _:
                return (event,)

    def _text(self, text: str) -> tuple[Event, ...]:
        assert self._flow is not None
        self.changed = self.changed or self._flow.changed
        if not text or self._first is None:
            return ()
        self._began = True
        return (TextDelta(self._first, text),)

    def _ended(self) -> tuple[Event, ...]:
        return (PartEnded(self._first),) if self._began and self._first is not None else ()


def _with_text(parts: tuple[Part, ...], text: str) -> Iterator[Part]:
    """The parts, with `text` in place of all their visible text."""
    written = False
    for part in parts:
        if not isinstance(part, Text) or part.refusal:
            yield part
        elif not written:
            written = True
            yield Text(text)


def healed(text: str) -> str | None:
    """The JSON that `text` was meant to be. None when it is JSON already, or cannot be made so."""
    if _is_json(text):
        return None
    for fenced in _FENCED.finditer(text):
        inner = _longest(fenced[1])
        if inner is not None:
            return inner
    return _longest(text)


def mended(text: str) -> str | None:
    """The object or list that the whole of `text` is, once it is repaired; None when it is none."""
    repaired, end = _repaired(text, 0)
    return repaired if end == len(text) and _is_structure(repaired) else None


def _longest(text: str) -> str | None:
    """The longest object or list in `text` once it is repaired, passing over prose."""
    best: str | None = None
    at = read = 0
    for _ in range(_MOST_STARTS):
        start = _OPEN.search(text, at)
        if start is None or read > _MOST_CHARACTERS:
            break
        repaired, end = _repaired(text, start.start())
        read += end - start.start()
        if _is_structure(repaired):
            if best is None or len(repaired) > len(best):
                best = repaired
            at = end
        else:
            at = start.end()
    return best


def _repaired(text: str, start: int) -> tuple[str, int]:
    """The value that begins at `start`, repaired, and where it ended."""
    out: list[str] = []
    open_brackets: list[str] = []
    comma: int | None = None  # where in `out` a comma stands behind which nothing has come yet
    at = start
    for token in _TOKEN.finditer(text, start):
        between = text[at : token.start()]
        at = token.end()
        if between.strip():
            comma = None
        out.append(between)
        word = token["mark"]
        if word is None:
            word = token["string"]
            if token["end"] != '"':  # the end of the text cut it off
                word = _CUT_ESCAPE.sub(r"\1", word)
            word += '"'
        elif word in ("}", "]"):
            if comma is not None:
                out[comma] = ""
            if not open_brackets or word != _CLOSES[open_brackets[-1]]:
                return "".join(out), at
            open_brackets.pop()
        elif word in ("{", "["):
            open_brackets.append(word)
            if len(open_brackets) > _DEEPEST:
                return "", at
        comma = len(out) if word == "," else None
        out.append(word)
        if not open_brackets:
            return "".join(out), at
    tail = text[at:].rstrip()
    if comma is not None and not tail:
        out[comma] = ""
    out.append(tail)
    out += [_CLOSES[bracket] for bracket in reversed(open_brackets)]
    return "".join(out), len(text)


def _is_json(text: str) -> bool:
    try:
        jsontext.loads(text)
    except ValueError:
        return False
    return True


def _is_structure(text: str) -> bool:
    try:
        return isinstance(jsontext.loads(text), dict | list)
    except ValueError:
        return False
